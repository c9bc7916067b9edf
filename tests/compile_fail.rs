//! What must not compile: nobody but the stage that checks can make the proof that it checked.
//!
//! Each file of `compile_fail/` names in its first line the error that the compiler must give. They are compiled against the
//! library that this binary was linked with; `trybuild` would check all dependencies once more first (157 s, cold).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest library beside this binary: the build that made the binary made that one too.
fn library(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let ours = files.filter(|path| name(path).starts_with("libcountersign-") && name(path).ends_with(".rlib"));
    ours.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).expect("the library was built")
}

fn compile(file: &Path) -> String {
    let binary = std::env::current_exe().unwrap();
    let directory = binary.parent().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--color=never", "--out-dir"])
        .arg(scratch.path())
        .arg("--extern")
        .arg(format!("countersign={}", library(directory).display()))
        .arg("-L")
        .arg(format!("dependency={}", directory.display()))
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn proofs_cannot_be_forged() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 18, "files are missing");
    std::thread::scope(|scope| {
        let jobs: Vec<_> = files.iter().map(|file| (file, scope.spawn(|| compile(file)))).collect();
        for (file, job) in jobs {
            let (text, messages) = (fs::read_to_string(file).unwrap(), job.join().unwrap());
            let expect = text.lines().next().and_then(|line| line.strip_prefix("// error: ")).unwrap();
            let errors: Vec<&str> =
                messages.lines().filter(|line| line.starts_with("error[") || line.starts_with("error:")).collect();
            match expect {
                "none" => assert!(errors.is_empty(), "{}:\n{messages}", file.display()),
                code => {
                    let found = errors.iter().any(|line| line.starts_with(&format!("error[{code}]")));
                    let others =
                        errors.iter().any(|line| line.starts_with("error[") && !line.starts_with(&format!("error[{code}]")));
                    assert!(found && !others, "{} must fail with {code} alone:\n{messages}", file.display());
                }
            }
        }
    });
}
