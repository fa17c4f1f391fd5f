//! Makes the Rust code for the messages in `proto/proto/`, which is committed, and checks that it is up to date.
//! Needs no protoc. Touches nothing but `proto/src/generated/`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// The one file that is generated, below the root of the workspace.
const GENERATED: &str = "proto/src/generated/leakline.v1.rs";

/// Writes the generated code anew.
pub fn generate() -> anyhow::Result<()> {
    let path = root().join(GENERATED);
    let folder = path.parent().context("the generated file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    fs::write(&path, code()?).with_context(|| format!("cannot write {}", path.display()))
}

/// Fails where the committed code is not what `generate` would write.
pub fn check() -> anyhow::Result<()> {
    let path = root().join(GENERATED);
    let committed = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        committed == code()?,
        "{GENERATED} is not what proto/proto/ says: run `cargo xtask proto` and commit what it writes"
    );
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The code for all messages and the service, formatted as `cargo fmt` would.
fn code() -> anyhow::Result<String> {
    let includes = root().join("proto/proto");
    let messages = protox::compile(["leakline/v1/leakline.proto"], [&includes])
        .with_context(|| format!("cannot compile the messages in {}", includes.display()))?;

    let folder = std::env::temp_dir().join(format!("leakline-xtask-proto-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let generated = tonic_prost_build::configure()
        .out_dir(&folder)
        .emit_rerun_if_changed(false)
        .compile_fds(messages)
        .context("cannot generate code for the messages")
        .and_then(|()| {
            fs::read_to_string(folder.join("leakline.v1.rs")).context("no code was generated for leakline.v1")
        });
    // Left behind in the folder for temporary files where this fails, which harms nobody.
    let _ = fs::remove_dir_all(&folder);
    formatted(&generated?)
}

fn formatted(code: &str) -> anyhow::Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start rustfmt: install it with `rustup component add rustfmt`")?;
    // rustfmt reads everything before it writes, so writing first cannot block for good.
    rustfmt
        .stdin
        .take()
        .context("rustfmt was started with a pipe")?
        .write_all(code.as_bytes())
        .context("cannot hand the code to rustfmt")?;
    let output = rustfmt.wait_with_output().context("cannot read what rustfmt wrote")?;
    if !output.status.success() {
        bail!("rustfmt refused the generated code: {}", output.status);
    }
    String::from_utf8(output.stdout).context("rustfmt wrote something that is not text")
}
