//! An Android app's name, of which nothing is left to a shell's interpretation.
//! Never repairs a name: what is no name is refused.

use std::str::FromStr;

/// Longest name that Android installs.
const MOST_BYTES: usize = 223;

/// A checked application id, such as `com.example.app`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package(String);

impl Package {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Package {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if name.contains(':') {
            return Err("an app's name has no colon: all of its processes are fetched");
        }
        if name.len() > MOST_BYTES || !name.contains('.') || !name.split('.').all(is_part) {
            return Err(
                "not an application id: words of letters, digits and _, joined by dots, as com.example.app",
            );
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, is_one: bool) {
        assert_eq!(Package::from_str(name).is_ok(), is_one, "{name:?}");
    }

    #[test]
    fn names_of_apps_are_taken_and_nothing_that_a_shell_would_read_otherwise() {
        check("com.example.app", true);
        check("com.example.my_app2", true);
        check("A.b", true);
        for bad in [
            "",
            "app",
            ".app",
            "app.",
            "a..b",
            "1a.b",
            "a.1b",
            "a.b c",
            "a.b;reboot",
            "a.$(id)",
            "a.`id`",
            "a.b&",
            "a.b\n",
            "-a.b",
            "a.b/c",
            "a.'b'",
            "com.example.app:service",
            "ä.b",
            "a.*",
        ] {
            check(bad, false);
        }
        check(&format!("a.{}", "b".repeat(MOST_BYTES)), false);
    }
}
