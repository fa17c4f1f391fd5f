//! Chooses the device from what `adb devices` lists.
//! Never guesses between two.

use anyhow::{Result, bail};

use crate::words::clean;

/// A line of the list: a serial number, and in which state the device is.
struct Listed<'a> {
    serial: &'a str,
    state: &'a str,
}

/// The serial number of the device that is meant: the wanted one, or the only one that is ready.
pub(super) fn choose(listed: &str, wanted: Option<&str>) -> Result<String> {
    // A line is a serial number, a tab, and a state; adb's words about its server have no tab.
    let all = listed.lines().filter_map(|line| line.split_once('\t'));
    let all: Vec<Listed<'_>> =
        all.map(|(serial, state)| Listed { serial: serial.trim(), state: state.trim() }).collect();
    let ready: Vec<&Listed<'_>> = all.iter().filter(|device| device.state == "device").collect();
    if let Some(wanted) = wanted {
        return match all.iter().find(|device| device.serial == wanted) {
            Some(device) if device.state == "device" => Ok(wanted.to_owned()),
            Some(device) => bail!("{}", not_ready(device)),
            None if all.is_empty() => bail!("{NONE}; {} is not connected", clean(wanted)),
            None => bail!("there is no device {}; connected: {}", clean(wanted), names(all.iter())),
        };
    }
    match (ready.as_slice(), all.first()) {
        ([one], _) => Ok(one.serial.to_owned()),
        ([], None) => bail!("{NONE}"),
        ([], Some(first)) => bail!("{}", not_ready(first)),
        (_, _) => {
            bail!("several devices are connected, choose one with --serial: {}", names(ready.into_iter()))
        }
    }
}

const NONE: &str = "no device is connected: start an emulator, or connect a device with USB debugging switched on \
                    (`adb devices` lists them)";

fn names<'a>(devices: impl Iterator<Item = &'a Listed<'a>>) -> String {
    devices.map(|device| clean(device.serial)).collect::<Vec<_>>().join(", ")
}

fn not_ready(device: &Listed<'_>) -> String {
    let serial = clean(device.serial);
    match device.state {
        "unauthorized" | "authorizing" => {
            format!(
                "device {serial} has not authorized this computer: unlock it and allow USB debugging on its screen"
            )
        }
        "offline" | "connecting" => {
            format!("device {serial} does not answer: reconnect it, or try `adb reconnect`")
        }
        state if state.starts_with("no permissions") => {
            format!("this user may not use device {serial}: {}", clean(state))
        }
        state => format!("device {serial} is in state {}, not started", clean(state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chosen device, or the beginning or another part of what is said instead.
    fn check(lines: &str, wanted: &str, expected: Result<&str, &str>) {
        let lines = lines.replace('|', "\t").replace(", ", "\n");
        let listed =
            format!("* daemon not running; starting now at tcp:5037\nList of devices attached\n{lines}\n\n");
        let wanted = Some(wanted).filter(|wanted| !wanted.is_empty());
        match (choose(&listed, wanted), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{lines} {wanted:?}"),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{lines} {wanted:?}: {error}")
            }
            (found, _) => panic!("{lines} {wanted:?}: {found:?}"),
        }
    }

    #[test]
    fn the_only_ready_device_is_chosen_and_nothing_is_guessed() {
        check("A1|device", "", Ok("A1"));
        check("A1|device, B2|offline", "", Ok("A1"));
        check("A1|device, B2|device", "B2", Ok("B2"));
        check("adb-1 (2)._adb-tls-connect._tcp|device", "", Ok("adb-1 (2)._adb-tls-connect._tcp"));
        check("A1|device, B2|device", "", Err("choose one with --serial: A1, B2"));
        check("A1|device, B2|device", "C3", Err("there is no device C3; connected: A1, B2"));
        check("", "", Err("no device is connected"));
        check("", "A1", Err("A1 is not connected"));
        check("A1|unauthorized", "", Err("A1 has not authorized this computer"));
        check("A1|device, B2|unauthorized", "B2", Err("B2 has not authorized this computer"));
        check("A1|offline", "", Err("A1 does not answer"));
        check("A1|no permissions (user in plugdev group)", "", Err("may not use device A1: no permissions"));
        check("A1|recovery", "", Err("in state recovery"));
    }
}
