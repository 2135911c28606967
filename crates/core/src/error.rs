use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of every fallible Gristmill function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The closed set of reasons for which Gristmill refuses or fails. The text form is part of the
        /// public API: it is the `code` of the JavaScript error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable text form, such as `MISSING_COLUMN`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// An option or argument is out of its range or contradicts another.
    InvalidArgument = "INVALID_ARGUMENT",
    /// No file matches an input, or a named file does not exist.
    NotFound = "NOT_FOUND",
    /// The operating system or the object store refused a read or a write.
    Io = "IO",
    /// The output device is full.
    StorageFull = "STORAGE_FULL",
    /// A data file is truncated, damaged or not of the format that it claims.
    CorruptData = "CORRUPT_DATA",
    /// Bytes that should be text are not UTF-8.
    InvalidUtf8 = "INVALID_UTF8",
    /// A column that is needed is not there.
    MissingColumn = "MISSING_COLUMN",
    /// A column is there with a type that cannot serve.
    WrongType = "WRONG_TYPE",
    /// A null or a NaN where the contract forbids it.
    InvalidValue = "INVALID_VALUE",
    /// Two documents carry one id where ids must be unique.
    DuplicateId = "DUPLICATE_ID",
    /// There is nothing to work on.
    EmptyInput = "EMPTY_INPUT",
    /// The target sample is too small to learn from.
    TargetTooSmall = "TARGET_TOO_SMALL",
    /// A model file is truncated, damaged, hostile or of an unknown kind.
    InvalidModel = "INVALID_MODEL",
    /// A well-formed request for something that this build does not do.
    Unsupported = "UNSUPPORTED",
    /// Counts of counts do not allow the discounts of modified Kneser-Ney.
    DiscountFailed = "DISCOUNT_FAILED",
    /// The memory limit leaves no room for the work.
    OutOfMemory = "OUT_OF_MEMORY",
    /// The output directory holds a job with another configuration or another input.
    JobMismatch = "JOB_MISMATCH",
    /// What was waited for did not come in time.
    TimedOut = "TIMED_OUT",
    /// The caller asked to stop.
    Aborted = "ABORTED",
    /// A tensor's shape does not fit the others of an operation, or its bytes.
    ShapeMismatch = "SHAPE_MISMATCH",
    /// A tensor's element type cannot serve an operation.
    DtypeMismatch = "DTYPE_MISMATCH",
    /// Tensors of one operation live on different devices.
    DeviceMismatch = "DEVICE_MISMATCH",
    /// No device of the kind that was asked for can be used on this machine.
    DeviceUnavailable = "DEVICE_UNAVAILABLE",
    /// A device stopped working; everything on it is gone, and another can be opened.
    DeviceLost = "DEVICE_LOST",
    /// A device or tensor was used after it was disposed of.
    Disposed = "DISPOSED",
    /// A defect of Gristmill itself. Please report it.
    Internal = "INTERNAL",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where in the input something went wrong, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// File path or object-store URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Row group of a Parquet file or batch of an Arrow file, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_group: Option<u64>,
    /// Row within the file (the line, for line formats), from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// Column, field, tensor or option name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Byte offset within the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

#[derive(Clone)]
struct Inner {
    code: Code,
    message: String,
    hint: Option<String>,
    location: Location,
    // Shared, since one failure is told to everyone whose tensors it spoiled.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// An error with a [`Code`], what happened, where, and what to do about it.
///
/// `Display` prints all of it on one line; the parts are also available one by one.
#[derive(Clone)]
pub struct Error {
    // Boxed so that `Result<T>` stays small on the hot paths.
    inner: Box<Inner>,
}

impl Error {
    /// An error of this kind with a message that says what is wrong.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                code,
                message: message.into(),
                hint: None,
                location: Location::default(),
                source: None,
            }),
        }
    }

    /// [`Code::InvalidArgument`] for the option of this name.
    pub fn invalid_argument(option: &str, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message).at_column(option)
    }

    /// The error for a failed system call on `path`; a full device becomes [`Code::StorageFull`] and an
    /// absent file [`Code::NotFound`].
    pub fn io(path: impl Into<String>, action: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Code::StorageFull,
            ErrorKind::NotFound => Code::NotFound,
            _ => Code::Io,
        };
        Self::new(code, format!("cannot {action}: {source}")).at_path(path).with_source(source)
    }

    /// Adds the underlying cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(Arc::from(source.into()));
        self
    }

    /// Adds what the user can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Adds the file, unless one is known already.
    pub fn at_path(mut self, path: impl Into<String>) -> Self {
        self.inner.location.path.get_or_insert_with(|| path.into());
        self
    }

    /// Adds the row group, unless one is known already.
    pub fn at_row_group(mut self, row_group: u64) -> Self {
        self.inner.location.row_group.get_or_insert(row_group);
        self
    }

    /// Adds the row, unless one is known already.
    pub fn at_row(mut self, row: u64) -> Self {
        self.inner.location.row.get_or_insert(row);
        self
    }

    /// Turns the row, if one is known, into that of another table: a row of a batch into the row of its file.
    pub fn map_row(mut self, of: impl FnOnce(u64) -> u64) -> Self {
        self.inner.location.row = self.inner.location.row.map(of);
        self
    }

    /// Adds the column or option, unless one is known already.
    pub fn at_column(mut self, column: impl Into<String>) -> Self {
        self.inner.location.column.get_or_insert_with(|| column.into());
        self
    }

    /// Adds the byte offset, unless one is known already.
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.inner.location.offset.get_or_insert(offset);
        self
    }

    /// Says first which operation failed.
    pub fn in_op(mut self, op: &str) -> Self {
        self.inner.message = format!("{op}: {}", self.inner.message);
        self
    }

    /// Why, as a closed code.
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// What happened, without location and hint.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// Where.
    pub fn location(&self) -> &Location {
        &self.inner.location
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { path, row_group, row, column, offset } = &self.inner.location;
        if let Some(path) = path {
            write!(f, "{path}")?;
            for (name, value) in [("row group", row_group), ("row", row), ("byte", offset)] {
                if let Some(value) = value {
                    write!(f, ", {name} {value}")?;
                }
            }
            if let Some(column) = column {
                write!(f, ", column {column:?}")?;
            }
            f.write_str(": ")?;
        } else if let Some(column) = column {
            write!(f, "{column}: ")?;
        }
        f.write_str(&self.inner.message)?;
        if let Some(hint) = &self.inner.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self}", self.inner.code)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|s| s as _)
    }
}

/// Adds a place to an error on its way up.
pub trait ResultExt<T> {
    /// Adds the file, unless one is known already.
    fn at_path(self, path: impl Into<String>) -> Result<T>;
    /// Adds the row, unless one is known already.
    fn at_row(self, row: u64) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn at_path(self, path: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.at_path(path))
    }

    fn at_row(self, row: u64) -> Result<T> {
        self.map_err(|e| e.at_row(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_says_where_what_and_what_to_do() {
        let e = Error::new(Code::WrongType, "expected utf8, found int64")
            .at_path("a.parquet")
            .at_row_group(2)
            .at_row(7)
            .at_column("text")
            .hint("name another column with --text");
        assert_eq!(
            e.to_string(),
            "a.parquet, row group 2, row 7, column \"text\": expected utf8, found int64 (name another column with --text)"
        );
    }

    #[test]
    fn an_inner_place_wins_over_an_outer_one() {
        let e = Error::new(Code::CorruptData, "bad").at_row(3).at_row(9).at_path("in").at_path("out");
        assert_eq!((e.location().row, e.location().path.as_deref()), (Some(3), Some("in")));
    }

    #[test]
    fn codes_have_distinct_texts() {
        let texts: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
    }

    #[test]
    fn a_full_disk_is_not_just_io() {
        let e = Error::io("out", "write", std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(e.code(), Code::StorageFull);
    }
}
