//! Foreign errors become ours here, once: who is at fault (the data, the system, this program) is decided
//! by the error's kind, never by its text.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_schema::ArrowError;
use gristmill_core::{Code, Error, Result, panic_text};
use parquet::errors::ParquetError;

/// The error for a failed request on `url`.
pub(crate) fn store(url: &str, action: &str, e: object_store::Error) -> Error {
    use object_store::Error as E;
    let code = match &e {
        E::NotFound { .. } => Code::NotFound,
        E::NotSupported { .. } | E::NotImplemented { .. } => Code::Unsupported,
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => Code::InvalidArgument,
        _ => Code::Io,
    };
    let error = Error::new(code, format!("cannot {action}: {e}")).at_path(url);
    let error = match &e {
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            error.hint("credentials are read from AWS_*, GOOGLE_* and AZURE_* in the environment")
        }
        E::Precondition { .. } => error.hint("the object changed while it was read"),
        _ => error,
    };
    error.with_source(e)
}

/// Carries one of our errors through an interface that only knows `std::io::Error`.
pub(crate) fn into_io(e: Error) -> io::Error {
    let kind = match e.code() {
        Code::NotFound => io::ErrorKind::NotFound,
        Code::StorageFull => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}

/// The error of a read that went through a decompressor: a failed system call was wrapped by
/// [`into_io`] below it, so whatever else comes up is the data's fault.
pub(crate) fn decompress(what: &str, e: io::Error) -> Error {
    match e.downcast::<Error>() {
        Ok(ours) => ours,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Error::new(Code::CorruptData, format!("{what} data ends too early; the file is truncated"))
                .with_source(e)
        }
        Err(e) => Error::new(Code::CorruptData, format!("{what} data is damaged: {e}")).with_source(e),
    }
}

/// The error of a write; ours when a writer of this crate made it.
pub(crate) fn write(path: &str, e: io::Error) -> Error {
    match e.downcast::<Error>() {
        Ok(ours) => ours,
        Err(e) => Error::io(path, "write", e),
    }
}

/// The error of a Parquet decoder.
pub(crate) fn parquet(e: ParquetError) -> Error {
    match e {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(inner) => match inner.downcast::<io::Error>() {
                Ok(e) => match e.downcast::<Error>() {
                    Ok(ours) => ours,
                    Err(e) => corrupt("Parquet", e.to_string()),
                },
                Err(inner) => corrupt("Parquet", inner.to_string()),
            },
        },
        ParquetError::NYI(what) => Error::new(Code::Unsupported, format!("Parquet feature not read: {what}")),
        ParquetError::General(m) | ParquetError::EOF(m) | ParquetError::ArrowError(m) => {
            corrupt("Parquet", m)
        }
        e => corrupt("Parquet", e.to_string()),
    }
}

/// The error of an Arrow decoder.
pub(crate) fn arrow(e: ArrowError) -> Error {
    match e {
        ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(inner) => corrupt("Arrow", inner.to_string()),
        },
        ArrowError::IoError(m, e) => match e.downcast::<Error>() {
            Ok(ours) => ours,
            Err(_) => corrupt("Arrow", m),
        },
        ArrowError::NotYetImplemented(m) => {
            Error::new(Code::Unsupported, format!("Arrow feature not read: {m}"))
        }
        ArrowError::MemoryError(m) => Error::new(Code::OutOfMemory, m),
        e => corrupt("Arrow", e.to_string()),
    }
}

/// The error of an encoder on its way to `path`: only the device underneath can be at fault.
pub(crate) fn encode(path: &str, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let e = e.into();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*e);
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<io::Error>() {
            if let Some(ours) = io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                return copy(ours).at_path(path);
            }
            return Error::io(path, "write", io::Error::new(io.kind(), io.to_string()));
        }
        if let Some(ours) = c.downcast_ref::<Error>() {
            return copy(ours).at_path(path);
        }
        if let Some(ArrowError::IoError(_, io)) = c.downcast_ref::<ArrowError>() {
            cause = Some(io);
            continue;
        }
        cause = match c.downcast_ref::<ParquetError>() {
            Some(ParquetError::External(inner)) => Some(&**inner),
            _ => c.source(),
        };
    }
    Error::new(Code::Internal, format!("cannot encode: {e}")).at_path(path)
}

/// Errors own their cause and cannot be cloned; what a user sees of them can.
pub(crate) fn copy(e: &Error) -> Error {
    let mut out = Error::new(e.code(), e.message());
    let at = e.location();
    if let Some(path) = &at.path {
        out = out.at_path(path.clone());
    }
    if let Some(g) = at.row_group {
        out = out.at_row_group(g);
    }
    if let Some(row) = at.row {
        out = out.at_row(row);
    }
    if let Some(column) = &at.column {
        out = out.at_column(column.clone());
    }
    if let Some(hint) = e.hint_text() {
        out = out.hint(hint);
    }
    out
}

/// The error of the Arrow reader over a Parquet file, which wraps Parquet's own.
pub(crate) fn arrow_of_parquet(e: ArrowError) -> Error {
    match e {
        ArrowError::ParquetError(m) => corrupt("Parquet", m),
        ArrowError::ExternalError(inner) => match inner.downcast::<ParquetError>() {
            Ok(e) => parquet(*e),
            Err(inner) => arrow(ArrowError::ExternalError(inner)),
        },
        e => arrow(e),
    }
}

fn corrupt(what: &str, message: String) -> Error {
    Error::new(Code::CorruptData, format!("{what} data is damaged: {message}"))
}

/// Runs a decoder that may panic on hostile bytes; a panic is damage of the file.
pub(crate) fn guard<T>(what: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    // The decoder's state is dropped after a panic, never used again: see the callers.
    gristmill_core::guard(f, |panic| corrupt(what, panic))
}

/// Runs a thread's work; a panic that no [`guard`] took is a defect of ours, reported and passed on.
pub(crate) fn contain<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        Err(Error::new(Code::Internal, format!("the reader panicked: {}", panic_text(&*panic)))
            .hint("this is a defect; please report it"))
    })
}
