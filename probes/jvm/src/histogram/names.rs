//! Names of classes as people know them, from the forms in which a JVM gives them.
//! Pure: text in, text out.

/// Longest name that is kept.
const MAX_NAME: usize = 512;

/// From what the JVM prints: `java.lang.String`, `[B`, `[Ljava.util.HashMap$Node;`.
pub(super) fn of_printed(text: &str) -> String {
    let dimensions = text.bytes().take_while(|byte| *byte == b'[').count();
    let element = text.get(dimensions..).unwrap_or("");
    let element = match (dimensions, element) {
        (0, name) => name,
        (_, "B") => "byte",
        (_, "C") => "char",
        (_, "D") => "double",
        (_, "F") => "float",
        (_, "I") => "int",
        (_, "J") => "long",
        (_, "S") => "short",
        (_, "Z") => "boolean",
        (_, object) => object.strip_prefix('L').unwrap_or(object),
    };
    let element = element.strip_suffix(';').unwrap_or(element);
    let mut name = without_address(element).to_owned();
    for _ in 0..dimensions.min(255) {
        name += "[]";
    }
    while name.len() > MAX_NAME {
        name.pop();
    }
    name
}

/// From a signature: `Ljava/lang/String;`, `[B`.
pub(crate) fn of_signature(signature: &str) -> String {
    // Of a hidden class, the address stands behind a dot.
    let printed = signature.replace('/', ".");
    match printed.strip_prefix('L') {
        Some(object) => of_printed(object),
        None => of_printed(&printed),
    }
}

/// Hidden classes, such as those that stand for lambdas, have the address of their making in their names, and there are
/// thousands of them: those of the same name before it are told of as one.
fn without_address(name: &str) -> &str {
    let Some(at) = name.rfind("0x") else { return name };
    let (before, address) = name.split_at(at);
    let digits = address.get(2..).unwrap_or("");
    match before.strip_suffix(['/', '.', '+']) {
        Some(before) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(printed: &str, signature: &str, expected: &str) {
        assert_eq!(of_printed(printed), expected, "{printed}");
        assert_eq!(of_signature(signature), expected, "{signature}");
    }

    #[test]
    fn classes_are_named_as_in_source() {
        check("java.lang.String", "Ljava/lang/String;", "java.lang.String");
        check("Load", "LLoad;", "Load");
        check("[B", "[B", "byte[]");
        check("[[J", "[[J", "long[][]");
        check("[Ljava.util.HashMap$Node;", "[Ljava/util/HashMap$Node;", "java.util.HashMap$Node[]");
        check("[[LB;", "[[LB;", "B[][]");
        check("", "", "");
    }

    #[test]
    fn hidden_classes_of_one_name_are_one() {
        check("H$$Lambda$14/0x0000000800c03000", "LH$$Lambda$14.0x0000000800c03000;", "H$$Lambda$14");
        check("H$$Lambda/0x00007f2c10000a00", "LH$$Lambda.0x00007f2c10000a00;", "H$$Lambda");
        check("[LH$$Lambda/0x00007f;", "[LH$$Lambda.0x00007f;", "H$$Lambda[]");
        check("a.Key0x12", "La/Key0x12;", "a.Key0x12");
        check("a.0xyz", "La/0xyz;", "a.0xyz");
    }

    #[test]
    fn a_long_name_is_cut_where_a_character_ends() {
        let name = of_printed(&"é".repeat(1000));
        assert_eq!(name.len(), MAX_NAME);
    }
}
