//! What turns a file of `shaders/` into WGSL. Five directives, each on a line of its own:
//!
//! - `#include NAME key=value ...` puts in `shaders/lib/NAME.wgsl`, with these definitions beside those in force; the
//!   same file may come several times under different names.
//! - `#if KEY=value ...` (all of them hold), `#else`, `#end`.
//! - `#params a b c` declares the `u32` parameters of a dispatch as `p.a`, `p.b`, `p.c`, and always `p.zero`, which is
//!   0 without the compiler's knowing it.
//!
//! `${KEY}` is replaced by its value. A definition that is missing is an error, in conditions too: a variant says
//! everything about itself.

use std::fmt::Write;

use gristmill_core::{Code, Error, Result};

use crate::shaders;

/// Definitions by name.
pub(crate) type Defs<'a> = Vec<(&'a str, &'a str)>;

/// WGSL and the parameters that it takes, in order.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) wgsl: String,
    pub(crate) params: Vec<String>,
}

/// Makes WGSL of a shader for these definitions.
pub(crate) fn preprocess(shader: &str, defs: &Defs) -> Result<Source> {
    let mut source = Source { wgsl: String::new(), params: Vec::new() };
    expand(shaders::text(shader)?, defs, &mut source).map_err(|e| e.at_path(format!("{shader}.wgsl")))?;
    Ok(source)
}

fn defect(what: String) -> Error {
    Error::new(Code::Internal, what)
}

fn expand(text: &str, defs: &Defs, source: &mut Source) -> Result<()> {
    // For each open condition, whether it holds together with those around it, and whether those do.
    let mut conditions: Vec<(bool, bool)> = Vec::new();
    for line in text.lines() {
        let on = conditions.last().is_none_or(|c| c.0);
        let Some(directive) = line.trim_start().strip_prefix('#') else {
            if on {
                source.wgsl.push_str(&substitute(line, defs)?);
                source.wgsl.push('\n');
            }
            continue;
        };
        let mut words = directive.split_whitespace();
        match words.next().unwrap_or("") {
            "if" => {
                let holds = !on || words.try_fold(true, |all, w| Ok::<_, Error>(all & holds(w, defs)?))?;
                conditions.push((on && holds, on));
            }
            "else" => {
                let top = conditions.last_mut().ok_or_else(|| defect("#else without #if".into()))?;
                top.0 = top.1 && !top.0;
            }
            "end" => drop(conditions.pop().ok_or_else(|| defect("#end without #if".into()))?),
            "include" if on => {
                let directive = substitute(directive, defs)?;
                let mut words = directive.split_whitespace().skip(1);
                let name = words.next().unwrap_or("");
                let own = words.map(pair).collect::<Result<Vec<_>>>()?;
                // The later ones hide the earlier ones of the same name.
                let inner: Defs = own.into_iter().chain(defs.iter().copied()).collect();
                expand(shaders::library(name)?, &inner, source)?;
            }
            "params" if on => {
                source.params.extend(words.map(String::from));
                source.params.push("zero".into());
                let fields: Vec<_> = source.params.iter().map(|p| format!("{p}: u32")).collect();
                let _ = writeln!(
                    source.wgsl,
                    "struct Params {{ {} }}\nvar<immediate> p: Params;",
                    fields.join(", ")
                );
            }
            "include" | "params" => {}
            other => return Err(defect(format!("no directive #{other}"))),
        }
    }
    if conditions.is_empty() { Ok(()) } else { Err(defect("#if without #end".into())) }
}

fn pair(text: &str) -> Result<(&str, &str)> {
    text.split_once('=').ok_or_else(|| defect(format!("expected key=value, found {text}")))
}

fn value<'a>(key: &str, defs: &Defs<'a>) -> Result<&'a str> {
    defs.iter()
        .find(|(k, _)| *k == key)
        .map(|(_, v)| *v)
        .ok_or_else(|| defect(format!("{key} is not defined")))
}

/// `KEY=value`, or `KEY=value|other`.
fn holds(condition: &str, defs: &Defs) -> Result<bool> {
    let (key, values) = pair(condition)?;
    let actual = value(key, defs)?;
    Ok(values.split('|').any(|v| v == actual))
}

fn substitute(line: &str, defs: &Defs) -> Result<String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        let (key, behind) =
            after.split_once('}').ok_or_else(|| defect(format!("an open placeholder: {line}")))?;
        out.push_str(before);
        out.push_str(value(key, defs)?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str, defs: &Defs) -> Result<String> {
        let mut source = Source { wgsl: String::new(), params: Vec::new() };
        expand(text, defs, &mut source).map(|()| source.wgsl)
    }

    #[test]
    fn conditions_nest_and_placeholders_are_filled() {
        let text = "#if A=1\na ${B}\n#if B=x|y\nb\n#else\nc\n#end\n#else\nd\n#if B=x\ne\n#end\n#end\nf";
        assert_eq!(made(text, &vec![("A", "1"), ("B", "y")]).unwrap(), "a y\nb\nf\n");
        assert_eq!(made(text, &vec![("A", "1"), ("B", "z")]).unwrap(), "a z\nc\nf\n");
        assert_eq!(made(text, &vec![("A", "2"), ("B", "x")]).unwrap(), "d\ne\nf\n");
        assert_eq!(made(text, &vec![("A", "2"), ("B", "y")]).unwrap(), "d\nf\n");
    }

    #[test]
    fn parameters_become_immediates() {
        let text = made("#params rows columns", &vec![]).unwrap();
        assert_eq!(text, "struct Params { rows: u32, columns: u32, zero: u32 }\nvar<immediate> p: Params;\n");
    }

    #[test]
    fn slips_are_errors() {
        for text in ["#if A=1", "#end", "#else", "${A}", "${A", "#if A\n#end", "#such", "#include nothing"] {
            assert_eq!(made(text, &vec![]).unwrap_err().code(), Code::Internal, "{text}");
        }
    }
}
