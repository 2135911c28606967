//! As much of S3 as an object store client asks for: objects with ranges and conditions, listings,
//! uploads in parts. One thread a connection, no authentication.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    objects: BTreeMap<String, (Vec<u8>, String)>,
    uploads: HashMap<String, BTreeMap<u32, Vec<u8>>>,
    seen: BTreeSet<&'static str>,
    counter: u64,
    refuse_bodies: bool,
}

pub(crate) struct Server {
    url: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    key: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { url, state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn seen(&self) -> BTreeSet<&'static str> {
        self.state.lock().unwrap().seen.clone()
    }

    pub(crate) fn open_uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = parse(&mut reader) {
        let head = request.method == "HEAD";
        let reply = state.lock().unwrap().answer(request);
        let mut text = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let sent = writer.write_all((text + "\r\n").as_bytes());
        if sent.and_then(|()| if head { Ok(()) } else { writer.write_all(&reply.body) }).is_err() {
            return;
        }
    }
}

fn parse(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_string(), parts.next()?.to_string());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let length = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |p: &str| {
        let (k, v) = p.split_once('=').unwrap_or((p, ""));
        (k.to_string(), decode(v))
    };
    let query = query.split('&').filter(|p| !p.is_empty()).map(pair).collect();
    // Without the bucket.
    let key =
        decode(path).trim_start_matches('/').split_once('/').map_or(String::new(), |(_, k)| k.to_string());
    Some(Request { method, key, query, headers, body })
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            out.push(u8::from_str_radix(&text[i + 1..i + 3], 16).unwrap());
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: Vec::new() }
}

fn xml(body: String) -> Reply {
    Reply { body: format!("<?xml version=\"1.0\"?>{body}").into_bytes(), ..reply(200) }
}

const DATE: &str = "2024-01-01T00:00:00.000Z";

impl State {
    fn answer(&mut self, r: Request) -> Reply {
        match r.method.as_str() {
            "POST" if r.key.is_empty() && !r.query.contains_key("delete") => {
                self.refuse_bodies = true;
                reply(200)
            }
            "POST" if r.query.contains_key("delete") => {
                let body = String::from_utf8(r.body).unwrap();
                let keys = body.split("<Key>").skip(1).map(|k| k.split_once("</Key>").unwrap().0.to_string());
                let gone: Vec<_> = keys.collect();
                gone.iter().for_each(|k| drop(self.objects.remove(k)));
                let done = |k: &String| format!("<Deleted><Key>{k}</Key></Deleted>");
                xml(format!("<DeleteResult>{}</DeleteResult>", gone.iter().map(done).collect::<String>()))
            }
            "GET" if r.query.contains_key("list-type") => self.list(&r),
            "GET" | "HEAD" => self.get(&r),
            "PUT" => self.put(r),
            "POST" => self.post(&r),
            "DELETE" => {
                match r.query.get("uploadId") {
                    Some(id) => drop(self.uploads.remove(id)),
                    None => drop(self.objects.remove(&r.key)),
                }
                reply(204)
            }
            _ => reply(400),
        }
    }

    fn list(&self, r: &Request) -> Reply {
        let prefix = r.query.get("prefix").cloned().unwrap_or_default();
        let entry = |(key, (bytes, tag)): (&String, &(Vec<u8>, String))| {
            let (key, size) = (escape(key), bytes.len());
            format!(
                "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{DATE}</LastModified><ETag>{tag}</ETag></Contents>"
            )
        };
        let all: String = self.objects.iter().filter(|(k, _)| k.starts_with(&prefix)).map(entry).collect();
        xml(format!("<ListBucketResult><IsTruncated>false</IsTruncated>{all}</ListBucketResult>"))
    }

    fn get(&mut self, r: &Request) -> Reply {
        let Some((bytes, tag)) = self.objects.get(&r.key) else { return reply(404) };
        if let Some(wanted) = r.headers.get("if-match") {
            self.seen.insert("if-match");
            if wanted != tag {
                return reply(412);
            }
        }
        let mut headers =
            vec![("ETag", tag.clone()), ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT".to_string())];
        let Some(range) = r.headers.get("range").and_then(|v| v.strip_prefix("bytes=")) else {
            return Reply { headers, body: bytes.clone(), ..reply(200) };
        };
        self.seen.insert("range");
        if self.refuse_bodies {
            return reply(403);
        }
        let (from, to) = range.split_once('-').unwrap();
        let from: usize = from.parse().unwrap();
        let to = to.parse::<usize>().map_or(bytes.len(), |t| (t + 1).min(bytes.len()));
        headers.push(("Content-Range", format!("bytes {from}-{}/{}", to - 1, bytes.len())));
        Reply { headers, body: bytes[from..to].to_vec(), ..reply(206) }
    }

    fn tag(&mut self) -> String {
        self.counter += 1;
        format!("\"{}\"", self.counter)
    }

    fn put(&mut self, r: Request) -> Reply {
        if let (Some(id), Some(part)) = (r.query.get("uploadId"), r.query.get("partNumber")) {
            let Some(upload) = self.uploads.get_mut(id) else { return reply(404) };
            upload.insert(part.parse().unwrap(), r.body);
            return Reply { headers: vec![("ETag", format!("\"{part}\""))], ..reply(200) };
        }
        if r.headers.contains_key("if-none-match") {
            self.seen.insert("conditional put");
            if self.objects.contains_key(&r.key) {
                return reply(412);
            }
        }
        let tag = self.tag();
        self.objects.insert(r.key, (r.body, tag.clone()));
        Reply { headers: vec![("ETag", tag)], ..reply(200) }
    }

    fn post(&mut self, r: &Request) -> Reply {
        let Some(id) = r.query.get("uploadId") else {
            let id = self.tag().trim_matches('"').to_string();
            self.uploads.insert(id.clone(), BTreeMap::new());
            return xml(format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ));
        };
        let Some(parts) = self.uploads.remove(id) else { return reply(404) };
        self.seen.insert("multipart");
        let tag = self.tag();
        self.objects.insert(r.key.clone(), (parts.into_values().flatten().collect(), tag.clone()));
        xml(format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
    }
}
