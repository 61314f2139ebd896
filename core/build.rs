//! Writes the built-in catalog as JSON, because every start of the program reads it.

use std::{env, error::Error, fs, path::Path};

use serde_json::Value;

/// The families, in the order of the catalog. Each is a file.
const FAMILIES: [&str; 14] = [
    "python",
    "node",
    "jvm",
    "dotnet",
    "ruby",
    "php",
    "beam",
    "rust",
    "go",
    "gateways",
    "controllers",
    "exporters",
    "observability",
    "products",
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut catalog = Vec::new();
    for family in FAMILIES {
        let path = Path::new("src/servers/catalog").join(family).with_extension("yaml");
        println!("cargo::rerun-if-changed={}", path.display());
        let in_file = |error: &dyn Error| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| in_file(&error))?;
        let entries: Value = serde_saphyr::from_str(&text).map_err(|error| in_file(&error))?;
        catalog.push((family, entries));
    }
    let output = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(Path::new(&output).join("catalog.json"), serde_json::to_vec(&catalog)?)?;
    Ok(())
}
