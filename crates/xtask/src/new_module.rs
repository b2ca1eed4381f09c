//! Writes the skeleton of a module from `templates/`, and names it where the workspace lists it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::rules::files::EMPTY_NAMES;

const LONGEST_NAME: usize = 30;

/// Schemas that are taken.
const TAKEN: [&str; 4] = ["core", "information_schema", "kernel", "public"];

const RESOURCE: &str = include_str!("../templates/resource.rs.tmpl");

/// Where each template goes; both sides may say `{{…}}`.
const TEMPLATES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("../templates/Cargo.toml.tmpl")),
    ("README.md", include_str!("../templates/README.md.tmpl")),
    ("sqlx.toml", include_str!("../templates/sqlx.toml.tmpl")),
    ("migrations/0001_{{name}}.sql", include_str!("../templates/migration.sql.tmpl")),
    ("src/lib.rs", include_str!("../templates/lib.rs.tmpl")),
    ("src/{{plural}}.rs", RESOURCE),
    ("tests/it/main.rs", include_str!("../templates/tests_main.rs.tmpl")),
    ("tests/it/contract.rs", include_str!("../templates/tests_contract.rs.tmpl")),
    ("tests/it/{{plural}}.rs", include_str!("../templates/tests_resource.rs.tmpl")),
];

/// Where a new line belongs among those of a file.
type Place = fn(&[&str], &str) -> Option<usize>;

/// A file that lists modules, the new one's line, and its place.
const LISTS: [(&str, &str, Place); 3] = [
    ("Cargo.toml", r#"freehold-{{name}} = { path = "modules/{{name}}" }"#, |lines, _| {
        end_of(lines, "# --- ours", |line| line.starts_with("# ---"))
    }),
    ("crates/freehold/Cargo.toml", "freehold-{{name}}.workspace = true", |lines, new| {
        let sorts_after = |line: &str| !line.starts_with("freehold-") || line > new;
        end_of(lines, "[dependencies]", sorts_after)
    }),
    ("crates/freehold/src/modules.rs", "freehold_{{name}}::module(),", |lines, _| {
        end_of(lines, "// modules: begin", |line| line == "// modules: end")
    }),
];

/// The words of a module's first resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Names types, functions and events: `Endpoint`, `endpoint.created`.
    pub singular: String,
    /// Names the table, the route and permissions: `endpoints:read`.
    pub plural: String,
    /// Prefixes ids: `whk_…`.
    pub prefix: String,
}

impl Resource {
    /// The words that follow from a module's name, for when nothing else is said.
    pub fn guess(name: &str) -> Self {
        let (singular, plural) = match (name.strip_suffix("ies"), name.strip_suffix('s')) {
            (Some(stem), _) => (format!("{stem}y"), name.to_owned()),
            (None, Some(stem)) => (stem.to_owned(), name.to_owned()),
            (None, None) => (name.to_owned(), format!("{name}s")),
        };
        let prefix = singular.chars().filter(char::is_ascii_lowercase).take(3).collect();
        Self { singular, plural, prefix }
    }
}

impl FromStr for Resource {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let [singular, plural, prefix] = parts.as_slice() else {
            bail!("say `singular,plural,prefix`, for example `endpoint,endpoints,whk`");
        };
        Ok(Self {
            singular: (*singular).to_owned(),
            plural: (*plural).to_owned(),
            prefix: (*prefix).to_owned(),
        })
    }
}

/// Writes `modules/<name>` and returns what there is to say about it.
pub fn create(root: &Path, name: &str, resource: &Resource) -> Result<Vec<String>> {
    check_name(name)?;
    check_resource(resource)?;
    for parent in ["modules", "crates"] {
        if root.join(parent).join(name).exists() {
            bail!("{parent}/{name} exists already");
        }
    }
    let folder = root.join("modules").join(name);
    let mut said = Vec::new();
    for (place, template) in TEMPLATES {
        let place = fill(place, name, resource);
        let file = folder.join(&place);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, fill(template, name, resource))
            .with_context(|| format!("cannot write {}", file.display()))?;
        said.push(format!("wrote modules/{name}/{place}"));
    }
    if !format(&folder) {
        said.push("rustfmt did not run: type `cargo fmt`".to_owned());
    }
    for (file, line, place) in LISTS {
        let line = fill(line, name, resource);
        said.push(if add_line(&root.join(file), &line, place)? {
            format!("added `{line}` to {file}")
        } else {
            format!("{file} has no place for it: add `{line}` by hand")
        });
    }
    let next = "next: make {{a}} {{thing}} in crates/freehold/tests/it/life.rs and give its id to \
                contract.rs there; then `make sqlx snapshots check test`";
    said.push(fill(next, name, resource));
    Ok(said)
}

fn check_name(name: &str) -> Result<()> {
    check_word(name)?;
    let taken = TAKEN.contains(&name) || EMPTY_NAMES.contains(&name) || name.starts_with("pg_");
    if taken {
        bail!("`{name}` is taken or says nothing; name the module after what it does");
    }
    Ok(())
}

fn check_resource(resource: &Resource) -> Result<()> {
    let Resource { singular, plural, prefix } = resource;
    check_word(singular)?;
    check_word(plural)?;
    if syn::parse_str::<syn::Ident>(plural).is_err() {
        bail!("`{plural}` is a keyword of Rust; say --resource");
    }
    let mine = type_name(singular);
    let code = RESOURCE.lines().filter(|line| !line.trim_start().starts_with("//"));
    if code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric())).any(|word| word == mine) {
        bail!("a module's code says `{mine}` already and means another thing; say --resource");
    }
    if prefix.len() != 3 || !prefix.chars().all(|c| c.is_ascii_lowercase()) {
        bail!("an id's prefix is three lower-case letters, not `{prefix}`; say --resource");
    }
    Ok(())
}

/// One word names crate, folder, schema and console folder, so it must fit all of them.
fn check_word(word: &str) -> Result<()> {
    let starts_well = word.starts_with(|c: char| c.is_ascii_lowercase());
    let goes_on_well =
        word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !starts_well || !goes_on_well || word.len() > LONGEST_NAME {
        bail!("`{word}` is no name: [a-z][a-z0-9_]*, at most {LONGEST_NAME} characters");
    }
    Ok(())
}

fn fill(template: &str, name: &str, resource: &Resource) -> String {
    let Resource { singular, plural, prefix } = resource;
    let article = article(singular);
    template
        .replace("{{name}}", name)
        .replace("{{singular}}", singular)
        .replace("{{plural}}", plural)
        .replace("{{prefix}}", prefix)
        .replace("{{Type}}", &type_name(singular))
        // In events, in paths and permissions, and in sentences.
        .replace("{{word}}", &singular.replace('_', ""))
        .replace("{{path}}", &plural.replace('_', "-"))
        .replace("{{thing}}", &singular.replace('_', " "))
        .replace("{{things}}", &plural.replace('_', " "))
        .replace("{{a}}", article)
        .replace("{{A}}", &type_name(article))
}

/// `api_key` becomes `ApiKey`.
fn type_name(word: &str) -> String {
    word.split('_')
        .flat_map(|part| {
            let mut letters = part.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters)
        })
        .collect()
}

/// `an` endpoint, `a` user: as far as letters tell the sound.
fn article(word: &str) -> &'static str {
    let sounds_like_you = ["eu", "uni", "us"].iter().any(|start| word.starts_with(start));
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) && !sounds_like_you { "an" } else { "a" }
}

/// How lines break depends on how long the words are. False if there is no rustfmt.
fn format(folder: &Path) -> bool {
    let files = [folder.join("src/lib.rs"), folder.join("tests/it/main.rs")];
    let rustfmt = Command::new("rustfmt").args(["--edition", "2024"]).args(files).status();
    rustfmt.is_ok_and(|status| status.success())
}

/// Adds the line unless it is there; false if the file or the place in it is missing.
fn add_line(file: &Path, line: &str, place: Place) -> Result<bool> {
    let text = if file.is_file() { fs::read_to_string(file)? } else { return Ok(false) };
    let lines: Vec<&str> = text.lines().collect();
    if lines.iter().any(|known| known.trim() == line) {
        return Ok(true);
    }
    let Some(at) = place(&lines, line) else { return Ok(false) };
    let below = lines.get(at).copied().unwrap_or_default();
    let (indent, _) = below.split_at(below.len() - below.trim_start().len());
    let (before, after) = lines.split_at(at);
    let line = format!("{indent}{line}");
    fs::write(file, [before, &[line.as_str()], after].concat().join("\n") + "\n")?;
    Ok(true)
}

/// The first line that ends what begins with `begin`.
fn end_of(lines: &[&str], begin: &str, ends: impl Fn(&str) -> bool) -> Option<usize> {
    let first = lines.iter().position(|line| line.trim() == begin)? + 1;
    let length = lines[first..].iter().position(|line| ends(line.trim()))?;
    Some(first + length)
}
