//! Where the collector keeps sessions unless told otherwise.
//! Makes nothing: the collector makes its folder.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where to, when the environment has no home.
const HERE: &str = "leakline-sessions";

/// The user's data folder's `leakline/sessions`, or a folder here where there is none.
pub(crate) fn default() -> PathBuf {
    choose(cfg!(target_os = "macos"), cfg!(windows), |name| std::env::var_os(name))
}

fn choose(mac: bool, windows: bool, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    // As the XDG base folders say, a relative path is no answer.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = match (mac, windows) {
        (_, true) => absolute("LOCALAPPDATA"),
        (true, _) => absolute("HOME").map(|home| home.join("Library/Application Support")),
        _ => absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share"))),
    };
    data.map_or_else(|| PathBuf::from(HERE), |data| data.join("leakline").join("sessions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn the_users_data_folder_is_chosen() {
        let cases = [
            (false, "HOME=/h", "/h/.local/share/leakline/sessions"),
            (false, "HOME=/h XDG_DATA_HOME=/d", "/d/leakline/sessions"),
            (false, "HOME=/h XDG_DATA_HOME=relative", "/h/.local/share/leakline/sessions"),
            (true, "HOME=/h", "/h/Library/Application Support/leakline/sessions"),
            (false, "", "leakline-sessions"),
        ];
        for (mac, environment, expected) in cases {
            let variable = |name: &str| {
                let words = environment.split_whitespace();
                words
                    .filter_map(|word| word.split_once('='))
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.into())
            };
            assert_eq!(choose(mac, false, variable), PathBuf::from(expected), "{environment}");
        }
    }
}
