//! Names of things that live in a namespace, written `namespace/name`.

use crate::{Label, NameError, Namespace, Subdomain};
use std::fmt;
use std::str::FromStr;

/// A Service: `namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there: a DNS label, since it is one in host names.
    pub name: Label,
}

/// A Workload, one running instance: `namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
}

/// An ExternalService, a place outside of the mesh: `namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalServiceName {
    /// Where the object lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Subdomain,
}

impl ServiceName {
    /// Joins the two halves.
    pub fn new(namespace: Namespace, name: Label) -> Self {
        Self { namespace, name }
    }
}

impl WorkloadName {
    /// Joins the two halves.
    pub fn new(namespace: Namespace, name: Subdomain) -> Self {
        Self { namespace, name }
    }
}

impl ExternalServiceName {
    /// Joins the two halves.
    pub fn new(namespace: Namespace, name: Subdomain) -> Self {
        Self { namespace, name }
    }
}

fn halves<'a>(text: &'a str, what: &'static str) -> Result<(&'a str, &'a str), NameError> {
    text.split_once('/').ok_or_else(|| NameError::new(text, what, "it must have the form `namespace/name`"))
}

impl FromStr for ServiceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = halves(text, "a service name")?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }
}

impl FromStr for WorkloadName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = halves(text, "a workload name")?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }
}

impl FromStr for ExternalServiceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = halves(text, "the name of an external service")?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{self}\"")
            }
        }
    )*};
}
as_text!(ServiceName, WorkloadName, ExternalServiceName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_both_halves() {
        assert_eq!("shop/orders".parse::<ServiceName>().unwrap().to_string(), "shop/orders");
        for text in ["orders", "/orders", "shop/", "shop/a/b", "shop/a.b"] {
            assert!(text.parse::<ServiceName>().is_err(), "{text}");
        }
        assert!("shop/a.b".parse::<WorkloadName>().is_ok());
    }
}
