//! From paths, directories, globs and URLs to a sorted list of files.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use futures_util::TryStreamExt;
use globset::{GlobBuilder, GlobMatcher};
use gristmill_core::hash::hash64;
use gristmill_core::{Code, Control, Error, Result};
use object_store::ObjectMeta;

use crate::fault;
use crate::format::{self, Compression, Format, NameHint};
use crate::place::{Input, Place, Remote, slash_path};
use crate::source::{OnError, Shard, Source};

/// A file that matched, before it was looked into.
struct Found {
    place: Place,
    /// Relative to the directory, or to the part of a glob before its first wildcard.
    relative: String,
    remote: Option<ObjectMeta>,
}

/// Directories nest less deep than this; a loop of links does not end otherwise.
const MAX_DEPTH: usize = 64;

pub(crate) fn discover(source: &Source, control: &Control) -> Result<Vec<Shard>> {
    if source.inputs.is_empty() {
        return Err(Error::new(Code::EmptyInput, "no input was named"));
    }
    let mut found = Vec::new();
    for input in &source.inputs {
        control.check()?;
        let before = found.len();
        expand(input, source.format, &mut found, control)?;
        if found.len() == before {
            return Err(Error::new(Code::NotFound, "no file matches")
                .at_path(input)
                .hint("directories are searched for .parquet, .jsonl, .ndjson, .arrow, .feather and .txt, also .gz and .zst"));
        }
    }
    found.sort_by_cached_key(|f| f.place.display());
    let mut seen = HashSet::new();
    found.retain(|f| seen.insert(identity(&f.place)));
    let mut shards = Vec::with_capacity(found.len());
    for f in found {
        control.check()?;
        shards.push(match inspect(&f, source) {
            // It is put aside when it is read.
            Err(e) if source.on_error == OnError::Quarantine && e.code() != Code::Aborted => {
                unreadable(&f, source)
            }
            other => other?,
        });
    }
    name_apart(&mut shards);
    for (i, shard) in shards.iter_mut().enumerate() {
        shard.index = i;
    }
    Ok(shards)
}

/// The same file reached by two names is read once.
fn identity(place: &Place) -> String {
    match place {
        Place::Local(path) => fs::canonicalize(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        Place::Remote(_) => place.display(),
    }
}

fn expand(input: &str, format: Option<Format>, out: &mut Vec<Found>, control: &Control) -> Result<()> {
    if input.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "an input is the empty string"));
    }
    let (base, pattern) = split_glob(input);
    let matcher = match pattern {
        // A file may be called `a[1].jsonl`.
        Some(_) if Path::new(input).exists() => None,
        Some(pattern) => Some(compile(input, pattern)?),
        None => None,
    };
    let named = Place::parse(if matcher.is_some() { base } else { input })?;
    match named {
        Place::Local(path) => expand_local(input, path, matcher, format, out, control),
        Place::Remote(url) => expand_remote(input, &Place::Remote(url), matcher, format, out),
    }
}

/// Splits before the first path component with a wildcard.
fn split_glob(input: &str) -> (&str, Option<&str>) {
    let Some(wild) = input.find(['*', '?', '[', '{']) else { return (input, None) };
    let cut = input[..wild].rfind(['/', std::path::MAIN_SEPARATOR]).map_or(0, |i| i + 1);
    (if cut == 0 { "." } else { &input[..cut] }, Some(&input[cut..]))
}

fn compile(input: &str, pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|g| g.compile_matcher())
        .map_err(|e| Error::new(Code::InvalidArgument, format!("not a glob: {}", e.kind())).at_path(input))
}

fn expand_local(
    input: &str,
    path: PathBuf,
    matcher: Option<GlobMatcher>,
    format: Option<Format>,
    out: &mut Vec<Found>,
    control: &Control,
) -> Result<()> {
    let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        // A glob below a directory that is not there matches nothing.
        Err(e) if matcher.is_some() && e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(input, "read", e)),
    };
    let found = |path: PathBuf, relative: String| Found { place: Place::Local(path), relative, remote: None };
    if !meta.is_dir() {
        let name = path.file_name().map_or_else(|| "input".into(), |n| n.to_string_lossy().into_owned());
        out.push(found(path, name));
        return Ok(());
    }
    let mut walk = Walk {
        base: &path,
        matcher: matcher.as_ref(),
        hidden: HiddenRule::of(matcher.as_ref()),
        found: Vec::new(),
        links: HashSet::new(),
    };
    walk.enter(&path, 0, control)?;
    let mut files = walk.found;
    if matcher.is_none() {
        files = choose(files, format, |(_, relative)| relative);
    }
    out.extend(files.into_iter().map(|(path, relative)| found(path, relative)));
    Ok(())
}

/// Of the files of a directory, those that hold documents: of the format asked for, or of any format
/// known; plain text only where there is nothing else (a README beside the data is no document).
fn choose<T>(files: Vec<T>, format: Option<Format>, name: impl Fn(&T) -> &String) -> Vec<T> {
    let mut known: Vec<(T, Format)> = files
        .into_iter()
        .filter_map(|f| {
            let hint = NameHint::of(name(&f));
            let found = hint.format.filter(|_| hint.is_data_file(name(&f)))?;
            (format.is_none_or(|f| f == found)).then_some((f, found))
        })
        .collect();
    if known.iter().any(|(_, f)| *f != Format::Text) {
        known.retain(|(_, f)| *f != Format::Text);
    }
    known.into_iter().map(|(f, _)| f).collect()
}

struct Walk<'a> {
    base: &'a Path,
    matcher: Option<&'a GlobMatcher>,
    hidden: HiddenRule,
    found: Vec<(PathBuf, String)>,
    links: HashSet<PathBuf>,
}

impl Walk<'_> {
    fn enter(&mut self, dir: &Path, depth: usize, control: &Control) -> Result<()> {
        control.check()?;
        let fail = |e| Error::io(dir.display().to_string(), "list", e);
        for entry in fs::read_dir(dir).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if self.hidden.passes_over(&name) {
                continue;
            }
            // A link that leads nowhere is a file that cannot be read, not one that is not there.
            let meta = fs::metadata(&path).or_else(|_| fs::symlink_metadata(&path)).map_err(fail)?;
            if meta.is_dir() {
                let link = fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink());
                let fresh = !link || fs::canonicalize(&path).is_ok_and(|real| self.links.insert(real));
                // The result of a job that was written below its own pool is no part of the pool.
                let result = self.matcher.is_none() && path.join(crate::job::PRIVATE_DIR).is_dir();
                if fresh && !result && depth < MAX_DEPTH {
                    self.enter(&path, depth + 1, control)?;
                }
            } else if meta.is_file() || meta.is_symlink() {
                let relative = slash_path(path.strip_prefix(self.base).unwrap_or(&path));
                if self.matcher.is_none_or(|m| m.is_match(&relative)) {
                    self.found.push((path, relative));
                }
            }
        }
        Ok(())
    }
}

/// Which names are passed over: hidden files, and in a directory that is read as a whole also what tools
/// keep beside data (`_SUCCESS`, our own `_gristmill`). A glob that asks for a dot gets it, as in a shell.
#[derive(Debug, Clone, Copy)]
enum HiddenRule {
    Directory,
    Glob,
    DotGlob,
}

impl HiddenRule {
    fn of(matcher: Option<&GlobMatcher>) -> Self {
        match matcher.map(|m| m.glob().glob()) {
            None => Self::Directory,
            Some(pattern) if pattern.starts_with('.') || pattern.contains("/.") => Self::DotGlob,
            Some(_) => Self::Glob,
        }
    }

    fn passes_over(self, name: &str) -> bool {
        match self {
            Self::Directory => name.starts_with(['.', '_']),
            Self::Glob => name.starts_with('.') || name == crate::job::PRIVATE_DIR,
            Self::DotGlob => name == crate::job::PRIVATE_DIR,
        }
    }
}

fn expand_remote(
    input: &str,
    named: &Place,
    matcher: Option<GlobMatcher>,
    format: Option<Format>,
    out: &mut Vec<Found>,
) -> Result<()> {
    let Place::Remote(url) = named else { return Ok(()) };
    let remote = Remote::open(url)?;
    if matcher.is_none() && !input.ends_with('/') && !remote.path().as_ref().is_empty() {
        match remote.head(remote.path()) {
            Ok(meta) => {
                let relative = remote.path().filename().unwrap_or("input").to_string();
                out.push(Found { place: named.clone(), relative, remote: Some(meta) });
                return Ok(());
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(fault::store(input, "open", e)),
        }
    }
    let listing = remote.store().list(Some(remote.path())).try_collect::<Vec<_>>();
    let objects = remote.run(listing).map_err(|e| fault::store(input, "list", e))?;
    let hidden = HiddenRule::of(matcher.as_ref());
    let mut files = Vec::new();
    let mut results = HashSet::new();
    for meta in objects {
        let Some(parts) = meta.location.prefix_match(remote.path()) else { continue };
        let parts: Vec<_> = parts.map(|p| p.as_ref().to_string()).collect();
        let private = parts.iter().position(|p| p == crate::job::PRIVATE_DIR);
        // As in a local directory: the result of a job below its own pool is no part of the pool.
        results.extend(private.filter(|at| *at > 0).map(|at| parts[..at].join("/") + "/"));
        let relative = parts.join("/");
        let matches = matcher.as_ref().map_or(!relative.is_empty(), |m| m.is_match(&relative));
        if matches && !parts.iter().any(|p| hidden.passes_over(p)) {
            files.push((relative, meta));
        }
    }
    if matcher.is_none() {
        files.retain(|(relative, _)| !results.iter().any(|r| relative.starts_with(r)));
        files = choose(files, format, |(relative, _)| relative);
    }
    for (relative, meta) in files {
        let place = Place::Remote(remote.url_of(&meta.location)?);
        out.push(Found { place, relative, remote: Some(meta) });
    }
    Ok(())
}

/// Bytes at either end of a file that its fingerprint covers.
const PRINTED: u64 = 16 << 10;

fn inspect(found: &Found, source: &Source) -> Result<Shard> {
    let url = found.place.display();
    let hint = NameHint::of(&found.relative);
    let (bytes, fingerprint, mut sniffed) = match &found.remote {
        Some(meta) => {
            let tag = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.to_rfc3339());
            (meta.size, format!("{}-{}", meta.size, tag.trim_matches('"')), None)
        }
        None => {
            let input = Input::open(&found.place)?;
            let fingerprint = print_local(&found.place, &input)?;
            (input.len(), fingerprint, Some(format::sniff(&input, hint)?))
        }
    };
    if sniffed.is_none() && hint.format.is_none() && source.format.is_none() {
        sniffed = Some(format::sniff(&Input::open(&found.place)?, hint)?);
    }
    let (seen, compression) = sniffed.unwrap_or((hint.format, hint.compression));
    let format = match source.format.or(seen) {
        Some(format) => format,
        // Nothing in it and nothing in its name: no document either way.
        None if bytes == 0 => Format::Text,
        None => return Err(format::unknown_format(&url)),
    };
    let compression = match format {
        Format::Jsonl | Format::Text => compression,
        Format::Parquet | Format::Arrow => Compression::None,
    };
    let name = hint.stem.to_string();
    Ok(Shard { index: 0, url, name, format, compression, bytes, fingerprint, place: found.place.clone() })
}

/// A file that cannot be looked into, as far as its name tells what it is.
fn unreadable(found: &Found, source: &Source) -> Shard {
    let hint = NameHint::of(&found.relative);
    Shard {
        index: 0,
        url: found.place.display(),
        name: hint.stem.to_string(),
        format: source.format.or(hint.format).unwrap_or(Format::Text),
        compression: hint.compression,
        bytes: 0,
        fingerprint: "unreadable".into(),
        place: found.place.clone(),
    }
}

fn print_local(place: &Place, input: &Input) -> Result<String> {
    let Place::Local(path) = place else { return Ok(String::new()) };
    let shown = || path.display().to_string();
    let meta = fs::metadata(path).map_err(|e| Error::io(shown(), "read", e))?;
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let len = input.len();
    let read = |pos, n| input.bytes_at(pos, n).map_err(|e| fault::decompress("file", e).at_path(shown()));
    let mut ends = read(0, len.min(PRINTED) as usize)?.to_vec();
    let tail = len.saturating_sub(PRINTED).max(len.min(PRINTED));
    ends.extend_from_slice(&read(tail, (len - tail) as usize)?);
    Ok(format!("{len}-{}-{:016x}", changed.as_nanos(), hash64(0, &ends)))
}

/// Gives shards whose names would meet (also in a file system that ignores case) names that do not.
fn name_apart(shards: &mut [Shard]) {
    // First the extension goes back (`a.jsonl` beside `a.parquet`), then the URL decides.
    for round in 0..2 {
        let mut count: HashMap<String, u32> = HashMap::new();
        for s in shards.iter() {
            *count.entry(s.name.to_lowercase()).or_default() += 1;
        }
        for s in shards.iter_mut().filter(|s| count[&s.name.to_lowercase()] > 1) {
            match round {
                0 => {
                    let file = s.url.rsplit(['/', std::path::MAIN_SEPARATOR]).next().unwrap_or_default();
                    let dir = s.name.rfind('/').map_or(0, |i| i + 1);
                    s.name.truncate(dir);
                    s.name.push_str(file);
                }
                _ => s.name = format!("{}-{:016x}", s.name, hash64(0, s.url.as_bytes())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_split_before_its_first_wild_part() {
        assert_eq!(split_glob("crawl/**/*.jsonl.gz"), ("crawl/", Some("**/*.jsonl.gz")));
        assert_eq!(split_glob("*.txt"), (".", Some("*.txt")));
        assert_eq!(split_glob("/a/b[0-9]/c"), ("/a/", Some("b[0-9]/c")));
        assert_eq!(split_glob("s3://bucket/p/{x,y}.parquet"), ("s3://bucket/p/", Some("{x,y}.parquet")));
        assert_eq!(split_glob("plain/path"), ("plain/path", None));
    }

    #[test]
    fn text_is_taken_from_a_directory_only_when_alone() {
        let names = |n: &[&str], f| choose(n.iter().map(|s| s.to_string()).collect(), f, |s: &String| s);
        assert_eq!(names(&["README.txt", "a.jsonl", "x.bin"], None), ["a.jsonl"]);
        assert_eq!(names(&["a.txt", "b.txt"], None), ["a.txt", "b.txt"]);
        assert_eq!(names(&["README.txt", "a.jsonl"], Some(Format::Text)), ["README.txt"]);
    }
}
