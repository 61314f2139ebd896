//! Converts measurements into facts, and writes facts files.

use std::{io, path::Path, time::Duration};

use jiff::civil::Date;

use super::{output::note_line, write};
use crate::{
    admission::policy_file,
    base::plural::count,
    judgement::facts::{self, Behaviour, Facts, ImageFact, ServerFact},
    measure::{
        report::Measurement,
        samples,
        target::{Server, Workload},
    },
};

/// The fact about a server of a workload; `None` if the measurement has no result.
pub(crate) fn fact(
    namespace: &str,
    workload: &Workload,
    server: &Server,
    measurement: &Measurement,
    date: Date,
) -> Option<ServerFact> {
    let behaviour = match measurement.behaviour().ok()? {
        samples::Behaviour::ClosesAfter { earliest, latest } => {
            Behaviour::ClosesAfter(millis(earliest), millis(latest + Duration::from_micros(999)))
        }
        samples::Behaviour::ClosesEachResponse => Behaviour::ClosesEachResponse,
        samples::Behaviour::StillOpen(max) => Behaviour::OpenAfter(max),
        samples::Behaviour::Differs { .. } => return None,
    };
    Some(ServerFact {
        namespace: namespace.to_owned(),
        kind: workload.kind.map_or("Pod", |kind| kind.kind()).to_owned(),
        name: workload.name.clone(),
        container: server.container.clone(),
        port: server.port,
        image: server.image.clone(),
        digest: server.digest.clone(),
        behaviour,
        source: format!(
            "linkerd-linger {}, {}",
            env!("CARGO_PKG_VERSION"),
            count(measurement.samples.len(), "connection")
        ),
        date,
    })
}

/// Rounds a time to milliseconds; measurements are not more precise.
fn millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Adds facts to a file, and replaces older ones about the same servers. Writes the file atomically.
pub(crate) fn write(path: &Path, new: Vec<ServerFact>, images: Vec<ImageFact>) -> anyhow::Result<()> {
    let old = match policy_file::text(path) {
        Ok(text) => policy_file::facts(path, &text)?,
        Err(policy_file::PolicyFileError::Read { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Facts::default()
        }
        Err(error) => return Err(error.into()),
    };
    let number = new.len() + images.len();
    let text = facts::print(&merged(&old, new, images))?;
    write::atomically(path, &text)?;
    note_line!("wrote {} to {}", count(number, "fact"), path.display());
    Ok(())
}

/// Merges facts: newer ones replace those about the same servers. The order is fixed.
pub(crate) fn merged(old: &Facts, new: Vec<ServerFact>, new_images: Vec<ImageFact>) -> Facts {
    let key = |fact: &ServerFact| {
        let texts = [&fact.namespace, &fact.kind, &fact.name, &fact.container].map(String::clone);
        (texts, fact.port)
    };
    let is_replaced = |fact: &&ServerFact| new.iter().any(|other| key(other) == key(fact));
    let mut servers: Vec<_> = old.servers.iter().filter(|fact| !is_replaced(fact)).cloned().collect();
    servers.extend(new);
    servers.sort_by_key(key);
    let is_read_again = |image: &&ImageFact| new_images.iter().any(|other| other.image == image.image);
    let mut images: Vec<_> = old.images.iter().filter(|image| !is_read_again(image)).cloned().collect();
    images.extend(new_images);
    images.sort_by(|a, b| a.image.cmp(&b.image));
    Facts::new(servers, images)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn fact(name: &str, seconds: u64) -> ServerFact {
        ServerFact {
            namespace: "shop".to_owned(),
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
            container: "web".to_owned(),
            port: 80,
            image: "web:1".to_owned(),
            digest: None,
            behaviour: Behaviour::OpenAfter(Duration::from_secs(seconds)),
            source: "a test".to_owned(),
            date: "2026-11-30".parse().unwrap(),
        }
    }

    #[test]
    fn a_newer_fact_takes_the_place_of_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("facts.yaml");
        write(&path, vec![fact("b", 1), fact("a", 1)], Vec::new()).unwrap();
        write(&path, vec![fact("b", 2)], Vec::new()).unwrap();
        let read = Facts::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(*read.servers, [fact("a", 1), fact("b", 2)]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_with_mistakes_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("facts.yaml");
        fs::write(&path, "version: 7\n").unwrap();
        assert!(
            write(&path, vec![fact("a", 1)], Vec::new())
                .unwrap_err()
                .to_string()
                .contains("cannot use the facts")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "version: 7\n");
    }
}
