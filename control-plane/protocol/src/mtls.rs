//! How plain text is met at a Workload's ports.

use crate::error::{DecodeError, port};
use crate::wire::v1 as wire;
use mesh_names::Port;
use std::collections::BTreeMap;

/// What becomes of plain text that arrives at an application's port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MtlsMode {
    /// It is refused.
    #[default]
    Strict,
    /// It is let through and counted.
    Permissive,
}

/// How a Workload meets plain text. Strict everywhere unless somebody says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboundMtls {
    /// At ports that are not exceptions, announced or not.
    pub mode: MtlsMode,
    /// Ports where another mode holds.
    pub exceptions: BTreeMap<Port, MtlsMode>,
}

impl InboundMtls {
    /// How plain text is met at a port of the application.
    pub fn mode_of(&self, port: Port) -> MtlsMode {
        self.exceptions.get(&port).copied().unwrap_or(self.mode)
    }

    pub(crate) fn to_wire(&self) -> wire::InboundMtls {
        let exceptions = self.exceptions.iter().map(|(port, mode)| wire::PortMtls {
            port: port.number().into(),
            mode: mode_to_wire(*mode).into(),
        });
        wire::InboundMtls { mode: mode_to_wire(self.mode).into(), exceptions: exceptions.collect() }
    }

    pub(crate) fn of_wire(message: &wire::InboundMtls) -> Result<Self, DecodeError> {
        let exceptions = message.exceptions.iter().map(|it| {
            Ok((port("mtls.exceptions.port", it.port)?, mode_of_wire("mtls.exceptions.mode", it.mode)?))
        });
        Ok(Self {
            mode: mode_of_wire("mtls.mode", message.mode)?,
            exceptions: exceptions.collect::<Result<_, DecodeError>>()?,
        })
    }
}

fn mode_to_wire(mode: MtlsMode) -> wire::MtlsMode {
    match mode {
        MtlsMode::Strict => wire::MtlsMode::Strict,
        MtlsMode::Permissive => wire::MtlsMode::Permissive,
    }
}

fn mode_of_wire(field: &'static str, mode: i32) -> Result<MtlsMode, DecodeError> {
    match wire::MtlsMode::try_from(mode) {
        Ok(wire::MtlsMode::Strict) => Ok(MtlsMode::Strict),
        Ok(wire::MtlsMode::Permissive) => Ok(MtlsMode::Permissive),
        Err(_) => Err(DecodeError::value(field, "this version knows no such mode")),
    }
}
