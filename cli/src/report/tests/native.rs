//! A report on native call paths, resolved with the symbols of a program that is built here. Skipped without a C compiler.

use std::path::Path;
use std::process::Command;

use leakline_core::NativePlace;
use object::{Object as _, ObjectSymbol as _};

use super::*;
use crate::symbols;

const SOURCE: &str = "\
#include <stdlib.h>
void *kept[64];
void leak_here(int slot) {
    kept[slot & 63] = malloc(4096);
}
int main(int argc, char **argv) {
    leak_here(argc);
    return argv == 0;
}
";

/// Builds the program as `libleak.so` in `folder`; gives its build id and where its functions begin.
fn build(folder: &Path) -> Option<(String, impl Fn(&str) -> u64)> {
    std::fs::write(folder.join("leak.c"), SOURCE).unwrap();
    let map = format!("-ffile-prefix-map={}=/src", folder.display());
    let arguments = ["-g", "-O0", "-shared", "-fPIC", "-Wl,--build-id", &map, "leak.c", "-o", "libleak.so"];
    let ran = Command::new("cc").args(arguments).current_dir(folder).output();
    if !ran.as_ref().is_ok_and(|ran| ran.status.success()) {
        eprintln!("skipped: no C compiler here: {ran:?}");
        return None;
    }
    let bytes = std::fs::read(folder.join("libleak.so")).unwrap();
    let build_id = {
        let file = object::File::parse(&*bytes).unwrap();
        file.build_id().unwrap()?.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let address = move |name: &str| {
        let file = object::File::parse(&*bytes).unwrap();
        file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap().address()
    };
    Some((build_id, address))
}

/// Four ticks at which `site` grows; half of it has survived.
fn recorded(site: &Arc<Site>) -> Vec<u8> {
    let mut encoder = Encoder::new(&session());
    let mut bytes = recording::header().to_vec();
    for tick in 0..4_u64 {
        let mut snapshot = snapshot(tick);
        let live = Amount { bytes: tick << 20, blocks: tick * 256 };
        let survived = Some(Amount { bytes: live.bytes / 2, blocks: live.blocks / 2 });
        let stat = SiteStat { survived, ..SiteStat::exact(Arc::clone(site), live) };
        let source = ProfileSource::sampled(ProfileSource::SAMPLED, 512 << 10);
        snapshot.readings[0].profiles.clear();
        snapshot.readings[2].profiles = vec![Arc::new(Profile::new(source, vec![stat]))];
        let mut verdicts = verdicts(tick);
        for verdict in &mut verdicts {
            if let Subject::Site(layer, of) = &mut verdict.subject {
                (*layer, *of) = (Layer::Native, Arc::clone(site));
            }
        }
        let record = Record::Snapshot { snapshot: Arc::new(snapshot), verdicts: verdicts.into() };
        encoder.record(&record).iter().for_each(|entry| recording::append(entry, &mut bytes));
    }
    bytes
}

#[test]
fn native_frames_are_shown_with_function_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let Some((build_id, address)) = build(folder.path()) else { return };
    let frame = |function: &str, path: &str, build_id: &str, address| {
        let place = NativePlace { build_id: build_id.into(), address };
        Arc::new(Frame::in_object(function, path, place))
    };
    let site = Arc::new(Site::call_path(
        vec![
            // Recorded elsewhere: only the folder of symbols has it.
            frame("leak_here", "/opt/app/libleak.so", &build_id, address("leak_here") + 1),
            frame("", "/opt/app/libleak.so", &build_id, address("main") + 1),
            frame("", "/opt/app/libgone.so", "0a1b2c", 0x1234),
            frame("PyObject_Call", "/opt/app/libpython3.so", "0d1b2c", 0x1234),
            Arc::new(Frame::new("receive", "/app/a.py", 7)),
        ],
        true,
    ));
    let path = folder.path().join("app.leak");
    std::fs::write(&path, recorded(&site)).unwrap();
    let mut report = open::report(&path, Range::default()).unwrap();
    symbols::resolve(&mut report, 3, &[folder.path().to_owned()]);

    let shown = anstream::adapter::strip_str(&text::show(&report, bounds(3))).to_string();
    let part =
        |from: &str| shown.split("\n\n").find(|part| part.starts_with(from)).unwrap_or_default().trim_end();
    expect![[r#"
        Growth of native (sampled every 512 KiB) from 09:00 (snapshot 0) to 09:15 (snapshot 3): +3.0 MiB in +768 blocks; 1 site grew, 0 shrank
          #1 +3.0 MiB in +768 blocks, now 3.0 MiB in 768 blocks, 50 % survived 3 readings or more
               /src/leak.c:3 leak_here
               < /src/leak.c:6 main
               < libgone.so+0x1234
               < PyObject_Call (libpython3.so)
               < a.py:7 receive
               < … cut off here; more frames with `run --frames`

        Native code without sure symbols
          /opt/app/libgone.so (build id 0a1b2c): no file with this build id was found here
          Install their debug packages (-dbg or -dbgsym), or name a folder with their files: --symbols DIR
    "#]].assert_eq(&format!("{}\n\n{}\n", part("Growth of native"), part("Native code")));

    let object = json::show(&report, 3);
    assert_eq!(object["growth"][0]["sites"][0]["site"]["id"], format!("{:?}", site.id()));
    assert_eq!(object["growth"][0]["sites"][0]["site"]["frames"][0]["line"], 3);
    assert_eq!(object["growth"][0]["sites"][0]["survived_bytes"], 3 << 19);
    assert_eq!(object["without_symbols"][0]["path"], "/opt/app/libgone.so");
}
