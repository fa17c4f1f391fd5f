package io.leakline.android;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import io.leakline.runtime.HostRules;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.Test;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.Node;

/** What Android and R8 are told by name is there by that name. Needs none of Android's classes to be run. */
public class PackagingTest {
    private static final String ANDROID = "http://schemas.android.com/apk/res/android";

    private static Document manifest() throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        return factory.newDocumentBuilder().parse(new File("src/main/AndroidManifest.xml"));
    }

    private static Class<?> found(String name) throws ClassNotFoundException {
        return Class.forName(name, false, HostRules.class.getClassLoader());
    }

    @Test
    public void theManifestHasOneProviderAndAsksForNothing() throws Exception {
        List<String> elements = new ArrayList<>();
        names(manifest().getDocumentElement(), elements);
        assertEquals(Arrays.asList("manifest", "uses-sdk", "application", "provider"), elements);
    }

    private static void names(Element element, List<String> into) {
        into.add(element.getTagName());
        for (Node node = element.getFirstChild(); node != null; node = node.getNextSibling()) {
            if (node instanceof Element) {
                names((Element) node, into);
            }
        }
    }

    @Test
    public void theProviderIsAClassThatNoOtherAppReaches() throws Exception {
        Element provider = (Element) manifest().getElementsByTagName("provider").item(0);
        assertEquals(AutoStartProvider.class, found(provider.getAttributeNS(ANDROID, "name")));
        assertEquals("false", provider.getAttributeNS(ANDROID, "exported"));
        // Two apps with one authority cannot be installed beside each other.
        assertEquals("${applicationId}.leakline", provider.getAttributeNS(ANDROID, "authorities"));
    }

    @Test
    public void everyRuleNamesAClass() throws Exception {
        String rules = new String(Files.readAllBytes(Paths.get("consumer-rules.pro")), "UTF-8");
        Matcher rule = Pattern.compile("(?m)^-keep class (\\S+)").matcher(rules);
        int count = 0;
        while (rule.find()) {
            found(rule.group(1));
            count++;
        }
        assertTrue("rules: " + count, count >= 3);
    }
}
