//! Where a workload runs: `REGION[/ZONE[/SUBZONE]]`, each in the grammar of a label's value.

use super::{GrammarError, LABEL_PART, is_label_part, wrong};
use mesh_protocol::Locality;
use std::fmt;
use std::str::FromStr;

/// A region, and maybe a zone in it, and maybe a part of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    region: String,
    zone: Option<String>,
    subzone: Option<String>,
}

impl FromStr for Place {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let parts: Vec<&str> = text.split('/').collect();
        if let Some(part) = parts.iter().find(|part| part.is_empty() || !is_label_part(part)) {
            return wrong(format!("`{part}` is not the name of a region or zone: {LABEL_PART}"));
        }
        let part = |place: usize| parts.get(place).map(|part| (*part).to_owned());
        match (part(0), parts.len()) {
            (Some(region), ..=3) => Ok(Self { region, zone: part(1), subzone: part(2) }),
            _ => wrong("it must have the form REGION[/ZONE[/SUBZONE]]"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        [&self.zone, &self.subzone].into_iter().flatten().try_for_each(|part| write!(f, "/{part}"))
    }
}

impl From<Place> for Locality {
    fn from(Place { region, zone, subzone }: Place) -> Self {
        Self { region: Some(region), zone, subzone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_from_the_widest_to_the_narrowest() {
        let read = |text: &str| Locality::from(text.parse::<Place>().unwrap());
        let said = |text: &str| Some(text.to_owned());
        let all = Locality { region: said("eu"), zone: said("eu-1a"), subzone: said("rack-7") };
        assert_eq!(read("eu/eu-1a/rack-7"), all);
        assert_eq!(read("eu/eu-1a"), Locality { subzone: None, ..all.clone() });
        assert_eq!(read("eu"), Locality { zone: None, subzone: None, ..all });
        assert_eq!("eu/eu-1a".parse::<Place>().unwrap().to_string(), "eu/eu-1a");
        for (text, says) in [
            ("", "`` is not the name of a region or zone"),
            ("eu//rack", "`` is not the name of a region or zone"),
            ("eu/a b", "`a b` is not the name of a region or zone"),
            ("a/b/c/d", "REGION[/ZONE[/SUBZONE]]"),
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
