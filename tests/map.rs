//! The map of `src` is true: the floors that `src/lib.rs` declares its rooms on are the order in which they use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The floor of every room, counted from the top: declarations without an empty line in between are on one floor.
fn floors() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(Path::new(SRC).join("lib.rs")).expect("src/lib.rs");
    let mut floor = 0;
    let mut floors = BTreeMap::new();
    for line in text.lines() {
        let declared = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ");
        match declared.and_then(|rest| rest.strip_suffix(';')) {
            Some(room) => _ = floors.insert(room.to_owned(), floor),
            None if line.is_empty() => floor += 1,
            None => {}
        }
    }
    floors
}

/// All files of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of src") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// A file's code: without comments, and without what is built for tests only.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a file of src");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The files that are built for a release: not those of modules that are declared for tests only.
fn files_of_the_crate() -> Vec<PathBuf> {
    let all = files(Path::new(SRC));
    let texts = all.iter().map(|file| fs::read_to_string(file).expect("a file of src"));
    let for_tests: BTreeSet<String> = texts
        .flat_map(|text| {
            let declared = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split_once(';'));
            declared.map(|(name, _)| name.to_owned()).filter(|name| !name.contains('{')).collect::<Vec<_>>()
        })
        .collect();
    let is_for_tests = |file: &Path| {
        let modules = file.ancestors().take_while(|part| *part != Path::new(SRC)).filter_map(Path::file_stem);
        modules.filter_map(|stem| stem.to_str()).any(|name| for_tests.contains(name))
    };
    all.into_iter().filter(|file| !is_for_tests(file)).collect()
}

/// What follows `crate::`, at each place of a file.
fn used(code: &str) -> impl Iterator<Item = &str> {
    code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn a_room_uses_only_rooms_of_the_floors_below() {
    let floors = floors();
    assert!(floors.len() > 15, "{floors:?}");
    let mut wrong = Vec::new();
    for file in files_of_the_crate() {
        let within = file.strip_prefix(SRC).expect("a file of src");
        let first = within.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
        let room = first.trim_end_matches(".rs");
        let Some(floor) = floors.get(room) else { continue };
        for target in used(&code(&file)).filter(|target| *target != room) {
            // What is re-exported at the top is used from where it is at home.
            if floors.get(target).is_none_or(|below| below <= floor) {
                wrong.push(format!("{}: crate::{target}", within.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these use what is not below them:\n{}", wrong.join("\n"));
}

/// Files of one folder that use each other in a circle are one file that was cut at the wrong place. What a folder's `mod.rs`
/// declares for all of them is no such use.
#[test]
fn no_files_of_a_folder_use_each_other_in_a_circle() {
    let files = files_of_the_crate();
    let mut uses: BTreeMap<&Path, Vec<PathBuf>> = BTreeMap::new();
    for file in &files {
        let Some(folder) = file.parent().filter(|_| !file.ends_with("mod.rs")) else { continue };
        let code = code(file);
        let siblings = code.split("super::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let siblings = siblings.filter_map(|mut words| words.next().map(|name| folder.join(name).with_extension("rs")));
        uses.entry(file).or_default().extend(siblings.filter(|sibling| sibling.is_file()));
    }
    // Who uses nobody that is left is in no circle.
    while let Some(free) = uses.iter().find(|(_, used)| !used.iter().any(|used| uses.contains_key(used.as_path()))) {
        let free = *free.0;
        uses.remove(free);
    }
    assert!(uses.is_empty(), "in a circle: {:?}", uses.keys());
}

/// The rooms stand on the floors that the text about the architecture shows.
#[test]
fn the_table_of_the_map_has_every_room_on_its_floor() {
    let text = fs::read_to_string(Path::new(SRC).join("ARCHITECTURE.md")).expect("src/ARCHITECTURE.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rows = rows.filter(|(number, _)| number.parse::<u32>().is_ok());
    let shown: Vec<BTreeSet<String>> = rows
        .map(|(_, rest)| rest.split(" | ").next().unwrap_or_default())
        .map(|rooms| rooms.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        .collect();
    let mut declared: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    // The pages of the guide are no room.
    for (room, floor) in floors().into_iter().filter(|(room, _)| room != "guide") {
        declared.entry(floor).or_default().insert(room);
    }
    assert_eq!(shown, declared.into_values().collect::<Vec<_>>());
}

/// Every feature that is not private is in both tables of features.
#[test]
fn every_feature_is_told_of() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    let features = manifest.split("[features]\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("features");
    let names = features.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let names: Vec<_> = names.filter(|name| !name.starts_with(['_', '#']) && *name != "default").collect();
    assert!(names.len() > 10, "{names:?}");
    for (page, text) in [("README.md", None), ("src/lib.rs", Some("//! "))] {
        let told = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page");
        let rows = told.lines().map(|line| line.strip_prefix(text.unwrap_or_default()).unwrap_or(line));
        let rows: Vec<_> = rows.filter_map(|line| line.strip_prefix("| `")?.split(" |").next()).collect();
        let is_told = |name: &str| rows.iter().any(|row| row.split('`').any(|part| part == name));
        let untold: Vec<_> = names.iter().filter(|name| !is_told(name)).collect();
        assert!(untold.is_empty(), "{page} does not tell of {untold:?}");
    }
}

/// What the texts for those who carry on name is there: a file of a room, of both engines' folders, of the tests.
#[test]
fn what_the_map_names_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["src/ARCHITECTURE.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"];
    let text: String = pages.iter().map(|page| fs::read_to_string(top.join(page)).expect("a page")).collect();
    let is_there = |name: &str| {
        let places = [top.join(name), Path::new(SRC).join(name), top.join(".github").join(name)];
        places.iter().any(|place| place.exists() || place.with_extension("rs").exists())
    };
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<_> = quoted.filter(|name| name.contains('/') && !name.contains([' ', '<', ':'])).collect();
    assert!(named.len() > 30, "{named:?}");
    let of_both = |name: &str| ["postgres", "mysql"].iter().all(|engine| is_there(&name.replace('*', engine)));
    let missing: Vec<_> = named.iter().filter(|name| !of_both(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The tests that `tests/PROMISES.md` names, as this binary lists them; a name that ends with `::` is a room of tests.
#[test]
fn every_promise_names_tests_that_are_there() {
    let promises =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/PROMISES.md")).expect("the page");
    let listed = std::process::Command::new(std::env::current_exe().expect("this test")).arg("--list").output();
    let listed = String::from_utf8(listed.expect("a list").stdout).expect("text");
    let tests: BTreeSet<_> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let named = promises.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    let named: Vec<_> = named.filter(|name| !["mysql::", "postgres::"].contains(name)).collect();
    assert!(named.len() > 50, "{named:?}");
    let is_there = |name: &str| match name.strip_suffix("::") {
        Some(_) => tests.iter().any(|test| test.starts_with(name)),
        None => tests.contains(name),
    };
    // Without MySQL its tests are not built.
    let expected = named.into_iter().filter(|name| cfg!(feature = "mysql") || !name.starts_with("mysql::"));
    let missing: Vec<_> = expected.filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
