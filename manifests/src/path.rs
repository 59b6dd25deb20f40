//! Field paths as Kubernetes writes them, `spec.rules[0].backendRefs[0].port`: what enters is a walk through a value or
//! a path out of a server's answer; what leaves is a path that can be shown and [located](crate::Manifest::locate).

use std::fmt;

/// One step of a [`FieldPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into a mapping, by key.
    Field(String),
    /// Into a list, by place from 0.
    Index(usize),
}

/// Where in an object a field stands. The empty path is the object itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// The path of a field directly in the object.
    pub fn of(field: &str) -> Self {
        Self::default().field(field)
    }

    /// This path and one step into a mapping.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    /// This path and one step into a list.
    #[must_use]
    pub fn index(&self, place: usize) -> Self {
        self.then(Step::Index(place))
    }

    /// This path, and then `inside`.
    #[must_use]
    pub fn join(&self, inside: &Self) -> Self {
        Self(self.0.iter().chain(&inside.0).cloned().collect())
    }

    /// The steps from the object to the field.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether this is the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` is this field or inside it.
    pub fn is_start_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Reads a path as Kubernetes writes it. Never fails: what does not look like an index is a key.
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (key, after) = inside.split_once(']').unwrap_or((inside, ""));
                let key = key.trim_matches(['"', '\'']);
                steps.push(key.parse().map_or_else(|_| Step::Field(key.to_owned()), Step::Index));
                rest = after;
            } else {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                if !key.is_empty() {
                    steps.push(Step::Field(key.to_owned()));
                }
                rest = after;
            }
        }
        Self(steps)
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Field(key) if key.is_empty() || key.contains(['.', '[', ']', '/']) => {
                    write!(f, "[{key}]")?
                }
                Step::Field(key) if place == 0 => f.write_str(key)?,
                Step::Field(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_it_is_shown() {
        for text in [
            "",
            "spec",
            "spec.rules[0].backendRefs[12].port",
            "metadata.labels[app.kubernetes.io/name]",
            "data[a.b]",
        ] {
            assert_eq!(FieldPath::parse(text).to_string(), text);
        }
    }

    #[test]
    fn a_torn_path_is_read_as_far_as_it_goes() {
        for (text, shown) in
            [("spec..x", "spec.x"), ("spec[0", "spec[0]"), (".a", "a"), ("a[\"b.c\"]", "a[b.c]")]
        {
            assert_eq!(FieldPath::parse(text).to_string(), shown);
        }
    }
}
