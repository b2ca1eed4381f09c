//! Writes the skeleton of a module from `templates/`.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::rules::files::EMPTY_NAMES;

const LONGEST_NAME: usize = 30;

/// Schemas that are taken.
const TAKEN: [&str; 4] = ["core", "information_schema", "kernel", "public"];

/// The list of modules; the new one goes between the two marks.
const MODULE_LIST: &str = "crates/freehold/src/modules.rs";
const LIST_BEGINS: &str = "// modules: begin";
const LIST_ENDS: &str = "// modules: end";

/// Where each template goes; both sides may say `{{…}}`.
const TEMPLATES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("../templates/Cargo.toml.tmpl")),
    ("README.md", include_str!("../templates/README.md.tmpl")),
    ("sqlx.toml", include_str!("../templates/sqlx.toml.tmpl")),
    ("migrations/0001_{{name}}.sql", include_str!("../templates/migration.sql.tmpl")),
    ("src/lib.rs", include_str!("../templates/lib.rs.tmpl")),
    ("src/{{plural}}.rs", include_str!("../templates/resource.rs.tmpl")),
    ("tests/it/main.rs", include_str!("../templates/test.rs.tmpl")),
];

/// The words of a module's first resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Prefixes events: `endpoint.created`.
    pub singular: String,
    /// Prefixes permissions, names the table and the route: `endpoints:read`.
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
    let folder = root.join("modules").join(name);
    if folder.exists() {
        bail!("modules/{name} exists already");
    }
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
    let line = format!("freehold_{name}::module(),");
    if add_to_list(root, &line)? {
        said.push(format!("added `{line}` to {MODULE_LIST}"));
    } else {
        said.push(format!("{MODULE_LIST} has no marks: add `{line}` by hand"));
    }
    said.push(format!(
        "add `freehold-{name} = {{ path = \"modules/{name}\" }}` to the workspace's dependencies \
         and `freehold-{name}.workspace = true` to crates/freehold/Cargo.toml"
    ));
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
    check_word(&resource.singular)?;
    check_word(&resource.plural)?;
    let prefix = &resource.prefix;
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
    template
        .replace("{{name}}", name)
        .replace("{{singular}}", &resource.singular)
        .replace("{{plural}}", &resource.plural)
        .replace("{{prefix}}", &resource.prefix)
        .replace("{{Type}}", &type_name(&resource.singular))
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

/// Adds the line before the closing mark; false if the file or its marks are missing.
fn add_to_list(root: &Path, line: &str) -> Result<bool> {
    let path = root.join(MODULE_LIST);
    if !path.is_file() {
        return Ok(false);
    }
    let text = fs::read_to_string(&path)?;
    let Some(begin) = text.lines().position(|line| line.trim() == LIST_BEGINS) else {
        return Ok(false);
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(end) = lines.iter().skip(begin).position(|line| line.trim() == LIST_ENDS) else {
        return Ok(false);
    };
    let end = begin + end;
    let indent: String = lines[end].chars().take_while(|c| c.is_whitespace()).collect();
    lines.insert(end, format!("{indent}{line}"));
    fs::write(&path, lines.join("\n") + "\n")?;
    Ok(true)
}
