// SPDX-License-Identifier: GPL-2.0-only

//! Compares the tables of the crate with what a C compiler makes of the headers: the kernel's
//! (its folder of UAPI headers is given by the environment variable UFFD_KERNEL_UAPI) and this
//! project's own. The names are taken from the headers too, so that an item the tables lack fails.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use uffd::abi;

const HEADER: &str = "linux/userfaultfd.h";

#[test]
fn kernel_header() {
    let folder = env::var_os("UFFD_KERNEL_UAPI")
        .expect("UFFD_KERNEL_UAPI must name the kernel's folder of UAPI headers (the one with linux/ in it)");
    check(Path::new(&folder), "kernel");
}

#[test]
fn own_header() {
    check(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include/uapi"),
        "own",
    );
}

fn check(folder: &Path, label: &str) {
    let header = folder.join(HEADER);
    let text =
        fs::read_to_string(&header).unwrap_or_else(|error| panic!("{}: {error}", header.display()));
    let text = without_comments(&text);

    same(
        &macros(&text),
        &abi::CONSTANTS
            .iter()
            .map(|item| item.name.to_owned())
            .collect(),
        "macros",
    );
    let structs: BTreeSet<String> = structs(&text).into_iter().map(|(name, _)| name).collect();
    same(
        &structs,
        &abi::structs().map(|item| item.name.to_owned()).collect(),
        "structures",
    );
    for (name, fields) in self::structs(&text) {
        let layout = abi::structs()
            .find(|item| item.name == name)
            .expect("compared above");
        // A union's members repeat names, so the paths are compared by their last part.
        let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
        same(
            &fields,
            &layout.fields.iter().map(|field| last(field.path)).collect(),
            &name,
        );
    }

    let seen = run(&c_program(&header), folder, label);
    same(
        &seen.lines().map(str::to_owned).collect(),
        &rust_facts(),
        "values and layouts",
    );
}

/// Fails unless the header's set and the tables' are equal, and shows what is only in one.
fn same(header: &BTreeSet<String>, tables: &BTreeSet<String>, what: &str) {
    let only_header: Vec<_> = header.difference(tables).collect();
    let only_tables: Vec<_> = tables.difference(header).collect();
    assert!(!header.is_empty(), "{what}: nothing found in the header");
    assert!(
        only_header.is_empty() && only_tables.is_empty(),
        "{what}: only in the header {only_header:#?}, only in the tables {only_tables:#?}"
    );
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").expect("a comment that ends").1;
    }
    out + rest
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// Every macro of the header but its include guard.
fn macros(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim_start);
    let names = lines
        .filter_map(|line| line.strip_prefix("#define"))
        .map(|rest| word(rest.trim_start()));
    names
        .filter(|name| !name.ends_with("_USERFAULTFD_H"))
        .map(str::to_owned)
        .collect()
}

/// Every structure of the header with the names declared in it.
fn structs(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("struct ") {
        let line_start = at == 0 || code[..at].ends_with('\n');
        let rest = &code[at + "struct ".len()..];
        let name = word(rest);
        let body = rest[name.len()..].trim_start();
        if line_start && !name.is_empty() && body.starts_with('{') {
            found.push((name.to_owned(), declared(body)));
        }
    }
    found
}

/// The names that end a declaration within the outermost braces.
fn declared(body: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let mut names = BTreeSet::new();
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' => {
                let before = body[..at].trim_end();
                let start = before.rfind(|c| !is_word(c)).map_or(0, |last| last + 1);
                names.insert(before[start..].to_owned());
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// What the tables say, a line for each fact.
fn rust_facts() -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for constant in abi::CONSTANTS {
        facts.insert(format!("{} = {:#x}", constant.name, constant.value));
    }
    for layout in abi::structs() {
        facts.insert(format!(
            "{}: size {} align {}",
            layout.name, layout.size, layout.align
        ));
        for field in layout.fields {
            facts.insert(format!(
                "{}.{}: offset {} size {}",
                layout.name, field.path, field.offset, field.size
            ));
        }
    }
    facts
}

/// A program that prints the same facts as C sees them.
fn c_program(header: &Path) -> String {
    let mut code =
        String::from("#include <stddef.h>\n#include <stdio.h>\n#include <sys/ioctl.h>\n");
    // By path, so that no other header of that name can take its place.
    let header = header.canonicalize().expect("a path to the header");
    writeln!(
        code,
        "#include \"{}\"\nint main(void)\n{{",
        header.display()
    )
    .unwrap();
    for constant in abi::CONSTANTS {
        let name = constant.name;
        writeln!(
            code,
            "printf(\"{name} = 0x%llx\\n\", (unsigned long long)({name}));"
        )
        .unwrap();
    }
    for layout in abi::structs() {
        let name = layout.name;
        let c = format!("struct {name}");
        writeln!(
            code,
            "printf(\"{name}: size %zu align %zu\\n\", sizeof({c}), _Alignof({c}));"
        )
        .unwrap();
        for field in layout.fields {
            let path = field.path;
            writeln!(
                code,
                "printf(\"{name}.{path}: offset %zu size %zu\\n\", offsetof({c}, {path}), sizeof((({c} *)0)->{path}));"
            )
            .unwrap();
        }
    }
    code.push_str("return 0;\n}\n");
    code
}

/// Compiles and runs the program, and returns what it prints.
fn run(code: &str, folder: &Path, label: &str) -> String {
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (
        scratch.join(format!("abi-{label}.c")),
        scratch.join(format!("abi-{label}")),
    );
    fs::write(&source, code).expect("write the C program");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compiled = Command::new(&compiler)
        .args(["-std=gnu11", "-Wall", "-Werror", "-I"])
        .arg(folder)
        // Headers straight from a kernel tree warn when they are not installed ones.
        .arg("-D__EXPORTED_HEADERS__")
        // They also use the kernel's name for the attribute, which
        // installed ones have replaced already. Unknown, it would declare a variable.
        .arg("-D__packed=__attribute__((packed))")
        .arg("-o")
        .args([&program, &source])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", compiler.display()));
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let ran = Command::new(&program).output().expect("run the C program");
    assert!(ran.status.success(), "the C program: {}", ran.status);
    String::from_utf8(ran.stdout).expect("plain text")
}
