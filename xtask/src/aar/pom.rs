//! The POM that stands beside an artifact: what it is and what it needs. Not the one that Maven builds with, which has a
//! parent, plugins and Android's classes that no app must see.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

pub(super) fn write(
    to: &Path,
    name: &str,
    packaging: &str,
    version: &str,
    needs: &[&str],
) -> anyhow::Result<()> {
    fs::write(to, text(name, packaging, version, needs))
        .with_context(|| format!("cannot write {}", to.display()))
}

fn text(name: &str, packaging: &str, version: &str, needs: &[&str]) -> String {
    let mut text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>io.leakline</groupId>
  <artifactId>{name}</artifactId>
  <version>{version}</version>
  <packaging>{packaging}</packaging>
"#
    );
    if !needs.is_empty() {
        text.push_str("  <dependencies>\n");
        for need in needs {
            let _ = write!(
                text,
                "    <dependency>\n      <groupId>io.leakline</groupId>\n      <artifactId>{need}</artifactId>\n      \
                 <version>{version}</version>\n      <scope>compile</scope>\n    </dependency>\n"
            );
        }
        text.push_str("  </dependencies>\n");
    }
    text.push_str("</project>\n");
    text
}
