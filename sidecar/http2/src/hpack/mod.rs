//! Header compression (RFC 7541). What enters on one side are names and values, on the other bytes; each direction of a
//! connection has a table of fields that were sent before, and a field in it costs a byte or two. What is decoded are
//! fields in the form the `http` crate has for them, made and checked once, when they enter the table, and copied by
//! reference after. Pure; which fields make a message is decided in `head`.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod integer;
mod static_table;
#[cfg(test)]
mod tests;

pub(crate) use decoder::{Decoder, Sink};
pub(crate) use encoder::{Encoder, Indexing};
pub(crate) use field::Field;
pub use field::Malformed;
pub(crate) use static_table::is_secret;

/// The table's size before anybody says another, in bytes as HPACK counts them (RFC 9113 §6.5.2). Ours stays at that: what
/// repeats from request to request fits.
pub(crate) const TABLE_SIZE: usize = 4096;

/// What every field counts for besides its bytes (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// A block of fields that can't be decoded. Both tables would differ from then on, so it ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    /// It ends within a field.
    #[error("the header block ends within a field")]
    Truncated,
    /// A number of more bits than any has.
    #[error("a number in the header block is too large")]
    Integer,
    /// A place in the table where nothing is.
    #[error("the header block refers to a field that is not in the table")]
    Index,
    /// A string that is not of the code, or badly padded.
    #[error("a string in the header block is not of the Huffman code")]
    Huffman,
    /// A table size above what was allowed, or not at the beginning.
    #[error("the header block changes the table's size beyond what is allowed, or where it may not")]
    TableSize,
}
