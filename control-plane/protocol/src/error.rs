//! Why bytes are not the resource they claim to be.

/// A resource that can't be read. The text names the field and the rule; the caller adds the resource's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no protobuf message of the type.
    #[error("not a valid message: {0}")]
    Message(#[from] prost::DecodeError),
    /// A field breaks its grammar.
    #[error("field `{field}`: {source}")]
    Name {
        /// Path of the field, as in the `.proto` file.
        field: &'static str,
        /// The rule it breaks.
        #[source]
        source: mesh_names::NameError,
    },
    /// A field has a value that it can't have.
    #[error("field `{field}`: {rule}")]
    Value {
        /// Path of the field.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

impl DecodeError {
    pub(crate) fn value(field: &'static str, rule: &'static str) -> Self {
        Self::Value { field, rule }
    }
}

/// Parses a field's text, naming the field on failure.
pub(crate) fn field<T>(field: &'static str, text: &str) -> Result<T, DecodeError>
where
    T: std::str::FromStr<Err = mesh_names::NameError>,
{
    text.parse().map_err(|source| DecodeError::Name { field, source })
}

/// Reads an IP address field.
pub(crate) fn address(field: &'static str, text: &str) -> Result<std::net::IpAddr, DecodeError> {
    text.parse().map_err(|_| DecodeError::value(field, "it is not an IP address"))
}

/// Reads a port field.
pub(crate) fn port(field: &'static str, number: u32) -> Result<mesh_names::Port, DecodeError> {
    number.try_into().map_err(|source| DecodeError::Name { field, source })
}
