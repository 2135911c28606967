//! The class of a peer's part in the rounds of a run. Every method that asks the store is a promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill::comm::rounds::{Accepted, Refused, RoundSync, SyncOptions};
use gristmill::comm::wire::{FormatSpec, Hash};
use gristmill_core::{Control, Error, Result};
use napi::bindgen_prelude::{Env, Function, Object, Uint8Array};
use napi_derive::napi;
use serde::{Deserialize, Serialize};

use crate::args::size;
use crate::cancel::CancelHandle;
use crate::error::{guarded, parse, print, to_js};
use crate::progress::{ProgressEvent, connect};
use crate::task::spawn;

const THREAD: &str = "gristmill-sync";

/// The JSON form of the options.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    peer: String,
    peers: usize,
    run: Option<String>,
    quorum: Option<usize>,
    max_peers: Option<usize>,
    deadline_ms: Option<u64>,
    timeout_ms: Option<u64>,
    poll_ms: Option<u64>,
    request_timeout_ms: Option<u64>,
    retries: Option<u32>,
    parallel: Option<usize>,
    format: Option<FormatSpec>,
    key: Option<Hash>,
    #[serde(default)]
    keys: BTreeMap<String, Hash>,
}

impl TryFrom<Options> for SyncOptions {
    type Error = Error;

    fn try_from(o: Options) -> Result<Self> {
        let d = SyncOptions::new(o.peer, o.peers);
        let ms = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        Ok(Self {
            run: o.run,
            quorum: o.quorum,
            max_peers: o.max_peers,
            deadline: o.deadline_ms.map(Duration::from_millis),
            timeout: ms(o.timeout_ms, d.timeout),
            poll: ms(o.poll_ms, d.poll),
            request_timeout: ms(o.request_timeout_ms, d.request_timeout),
            retries: o.retries.unwrap_or(d.retries),
            parallel: o.parallel.unwrap_or(d.parallel),
            format: o.format.map(TryInto::try_into).transpose()?,
            key: o.key.map(|key| key.0),
            keys: o.keys.into_iter().map(|(peer, key)| (peer, key.0)).collect(),
            ..d
        })
    }
}

/// A round that is decided, without the payloads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoundSummary {
    round: u64,
    base: Hash,
    own: &'static str,
    payloads: Vec<Sender>,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Sender {
    peer: String,
    hash: Hash,
}

/// A round that is decided.
#[napi(object, object_from_js = false)]
pub struct AcceptedRound {
    /// The JSON text of `AcceptedRound` without the bytes of its payloads.
    pub summary: String,
    /// The bytes of each payload, in order.
    pub payloads: Vec<Uint8Array>,
}

type Crossing = (String, Vec<Vec<u8>>);

fn cross(accepted: Accepted) -> Result<Crossing> {
    let Accepted { round, base, payloads, refused, own } = accepted;
    let sender = |p: &gristmill::comm::rounds::Contribution| Sender { peer: p.peer.clone(), hash: p.hash };
    let own = own.name();
    let summary = RoundSummary { round, base, own, payloads: payloads.iter().map(sender).collect(), refused };
    Ok((print(&summary)?, payloads.into_iter().map(|p| p.bytes.into()).collect()))
}

fn arrive((summary, payloads): Crossing) -> AcceptedRound {
    AcceptedRound { summary, payloads: payloads.into_iter().map(Uint8Array::new).collect() }
}

fn hash(base: Option<String>) -> Result<Option<Hash>> {
    base.map(|base| base.parse()).transpose().map_err(|e: Error| e.at_column("base"))
}

/// A peer's part in the rounds of a run.
#[napi(js_name = "RoundSyncHandle")]
pub struct RoundSyncHandle {
    sync: Arc<RoundSync>,
}

#[napi]
impl RoundSyncHandle {
    /// Opens the rounds at a directory or a URL; `options` is the JSON text of `RoundSyncOptions`.
    #[napi(constructor)]
    pub fn new(env: Env, url: String, options: String) -> napi::Result<Self> {
        guarded(|| RoundSync::open(&url, parse::<Options>(&options)?.try_into()?))
            .map(|sync| Self { sync: Arc::new(sync) })
            .map_err(|e| to_js(&env, &e))
    }

    /// The run.
    #[napi]
    pub fn run(&self) -> String {
        self.sync.run().into()
    }

    /// What the exchange has cost so far: the JSON text of `SyncMeter`.
    #[napi]
    pub fn meter(&self, env: Env) -> napi::Result<String> {
        guarded(|| print(&self.sync.meter())).map_err(|e| to_js(&env, &e))
    }

    /// Uploads this peer's payload of a round. The result is the JSON text of `PublishedPayload`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn publish<'env>(
        &self,
        env: &'env Env,
        round: f64,
        payload: Uint8Array,
        cancel: &CancelHandle,
    ) -> napi::Result<Object<'env>> {
        #[derive(Serialize)]
        struct Published {
            hash: Hash,
            fresh: bool,
            late: bool,
        }
        let (sync, control) = self.parts(cancel);
        let bytes = payload.to_vec();
        let work = move || {
            let done = sync.publish(size("round", round)? as u64, &bytes, &control)?;
            print(&Published { hash: done.hash, fresh: done.fresh, late: done.late })
        };
        spawn(env, THREAD, cancel.token.clone(), work, |text| text)
    }

    /// What this peer published in a round, or null.
    #[napi(ts_return_type = "Promise<Uint8Array | null>")]
    pub fn published<'env>(
        &self,
        env: &'env Env,
        round: f64,
        cancel: &CancelHandle,
    ) -> napi::Result<Object<'env>> {
        let (sync, control) = self.parts(cancel);
        let work = move || {
            let bytes = sync.published(size("round", round)? as u64, &control)?;
            Ok(bytes.map(Vec::from))
        };
        spawn(env, THREAD, cancel.token.clone(), work, |bytes: Option<Vec<u8>>| bytes.map(Uint8Array::new))
    }

    /// Waits until a round is decided, or decides it.
    #[napi(ts_return_type = "Promise<AcceptedRound>")]
    pub fn gather<'env>(
        &self,
        env: &'env Env,
        round: f64,
        base: Option<String>,
        cancel: &CancelHandle,
        #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
            Function<'_, ProgressEvent, ()>,
        >,
    ) -> napi::Result<Object<'env>> {
        let (sync, control) = self.parts(cancel);
        let control = connect(control, on_progress)?;
        let work = move || cross(sync.gather(size("round", round)? as u64, hash(base)?, &control)?);
        spawn(env, THREAD, cancel.token.clone(), work, arrive)
    }

    /// A round that is decided, or null where it is not yet.
    #[napi(ts_return_type = "Promise<AcceptedRound | null>")]
    pub fn replay<'env>(
        &self,
        env: &'env Env,
        round: f64,
        base: Option<String>,
        cancel: &CancelHandle,
    ) -> napi::Result<Object<'env>> {
        let (sync, control) = self.parts(cancel);
        let work = move || {
            let accepted = sync.replay(size("round", round)? as u64, hash(base)?, &control)?;
            accepted.map(cross).transpose()
        };
        spawn(env, THREAD, cancel.token.clone(), work, |accepted: Option<Crossing>| accepted.map(arrive))
    }

    /// The first round that is not decided yet.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn next_round<'env>(&self, env: &'env Env, cancel: &CancelHandle) -> napi::Result<Object<'env>> {
        let (sync, control) = self.parts(cancel);
        let work = move || sync.next_round(&control);
        spawn(env, THREAD, cancel.token.clone(), work, |round| round as f64)
    }

    fn parts(&self, cancel: &CancelHandle) -> (Arc<RoundSync>, Control) {
        (self.sync.clone(), Control::with_cancel(cancel.token.clone()))
    }
}
