use gristmill_core::Result;
use gristmill_core::device::DeviceKind;

use super::machine::{Adapter, Machine};
use super::{Backend, Reason, Selector, none_of, unavailable};

/// Opens what a selector asks for; also why others were passed over.
pub(crate) fn choose<M: Machine>(machine: &M, selector: &Selector) -> Result<(M::Opened, Vec<Reason>)> {
    let mut reasons = Vec::new();
    let opened = match *selector {
        Selector::Auto => {
            let gpu = [Backend::Cuda, Backend::Wgpu]
                .into_iter()
                .find_map(|backend| any(machine, backend, false, &mut reasons));
            match gpu {
                Some(opened) => Some(opened),
                None => any(machine, Backend::Cpu, false, &mut reasons),
            }
        }
        Selector::Reference => Some(machine.open_reference()?),
        Selector::Of(backend, None) => any(machine, backend, true, &mut reasons),
        Selector::Of(backend, Some(index)) => numbered(machine, backend, index, &mut reasons),
    };
    match opened {
        Some(opened) => Ok((opened, reasons)),
        None => Err(unavailable(selector, reasons)),
    }
}

/// The first of a backend that opens, hardware first, and software only if the backend was named.
fn any<M: Machine>(
    machine: &M,
    backend: Backend,
    named: bool,
    reasons: &mut Vec<Reason>,
) -> Option<M::Opened> {
    let adapters = adapters(machine, backend, reasons)?;
    let software = |a: &&Adapter| a.info.kind == DeviceKind::Software;
    let (soft, hard): (Vec<_>, Vec<_>) = adapters.iter().partition(software);
    for adapter in hard {
        if let Some(opened) = one(machine, backend, adapter, reasons) {
            return Some(opened);
        }
    }
    for adapter in soft {
        if !named {
            let why = format!("{} is a software adapter, which is taken only by name", adapter.info.name);
            reasons.push(Reason::new(&adapter.info.selector, why));
        } else if let Some(opened) = one(machine, backend, adapter, reasons) {
            return Some(opened);
        }
    }
    None
}

/// The one of this number.
fn numbered<M: Machine>(
    machine: &M,
    backend: Backend,
    index: usize,
    reasons: &mut Vec<Reason>,
) -> Option<M::Opened> {
    let adapters = adapters(machine, backend, reasons)?;
    match adapters.iter().find(|a| a.index == index) {
        Some(adapter) => one(machine, backend, adapter, reasons),
        None => {
            let there: Vec<_> = adapters.iter().map(|a| a.info.selector.as_str()).collect();
            let hint = Some(format!("there is {}", there.join(", ")));
            let selector = format!("{}:{index}", backend.name());
            reasons.push(Reason { hint, ..Reason::new(selector, "there is no device of this number") });
            None
        }
    }
}

fn adapters<M: Machine>(machine: &M, backend: Backend, reasons: &mut Vec<Reason>) -> Option<Vec<Adapter>> {
    match machine.adapters(backend) {
        Ok(adapters) if adapters.is_empty() => reasons.push(none_of(backend)),
        Ok(adapters) => return Some(adapters),
        Err(e) => reasons.push(Reason::of(backend.name(), &e)),
    }
    None
}

fn one<M: Machine>(
    machine: &M,
    backend: Backend,
    adapter: &Adapter,
    reasons: &mut Vec<Reason>,
) -> Option<M::Opened> {
    if let Some(why) = &adapter.unusable {
        reasons.push(Reason::new(&adapter.info.selector, why));
        return None;
    }
    match machine.open(backend, adapter.index) {
        Ok(opened) => Some(opened),
        Err(e) => {
            reasons.push(Reason::of(&adapter.info.selector, &e));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::device::Support;
    use gristmill_core::{Code, DeviceInfo, Error};

    use super::*;
    use crate::devices::Unavailable;

    /// A machine by its answers: adapters as kind and why it does not open; `None` for a backend that is not there.
    struct Simulated {
        cuda: Option<Vec<Option<&'static str>>>,
        wgpu: Vec<(DeviceKind, Option<&'static str>, Option<&'static str>)>,
    }

    fn info(backend: &'static str, index: usize, kind: DeviceKind) -> DeviceInfo {
        DeviceInfo {
            backend,
            selector: format!("{backend}:{index}"),
            name: format!("{kind} {index}"),
            kind,
            driver: String::new(),
            memory: None,
            limits: Vec::new(),
            features: Vec::new(),
            supports: |_, _| Support::Native,
        }
    }

    impl Machine for Simulated {
        type Opened = String;

        fn adapters(&self, backend: Backend) -> Result<Vec<Adapter>> {
            let adapter = |index, kind, unusable: Option<&str>| Adapter {
                index,
                info: info(backend.name(), index, kind),
                unusable: unusable.map(Into::into),
            };
            match backend {
                Backend::Cpu => Ok(vec![adapter(0, DeviceKind::Cpu, None)]),
                Backend::Wgpu => {
                    let all = self.wgpu.iter().enumerate();
                    Ok(all.map(|(i, (kind, unusable, _))| adapter(i, *kind, *unusable)).collect())
                }
                Backend::Cuda => match &self.cuda {
                    Some(cards) => {
                        Ok((0..cards.len()).map(|i| adapter(i, DeviceKind::DiscreteGpu, None)).collect())
                    }
                    None => Err(Error::new(Code::DeviceUnavailable, "no library").hint("install it")),
                },
            }
        }

        fn open(&self, backend: Backend, index: usize) -> Result<String> {
            let trouble = match backend {
                Backend::Cpu => None,
                Backend::Wgpu => self.wgpu[index].2,
                Backend::Cuda => self.cuda.as_ref().unwrap()[index],
            };
            match trouble {
                Some(why) => Err(Error::new(Code::DeviceUnavailable, why)),
                None => Ok(format!("{}:{index}", backend.name())),
            }
        }

        fn open_reference(&self) -> Result<String> {
            Ok("reference".into())
        }
    }

    const HARD: DeviceKind = DeviceKind::DiscreteGpu;
    const SOFT: DeviceKind = DeviceKind::Software;

    /// What was opened, and what was passed over for which reason.
    fn of(machine: &Simulated, selector: &str) -> (String, Vec<(String, String)>) {
        let (opened, reasons) = choose(machine, &selector.parse().unwrap()).unwrap();
        (opened, reasons.into_iter().map(|r| (r.device, r.why)).collect())
    }

    #[test]
    fn auto_prefers_cuda_then_hardware_then_the_processor() {
        let all = Simulated { cuda: Some(vec![None, None]), wgpu: vec![(HARD, None, None)] };
        assert_eq!(of(&all, "auto"), ("cuda:0".into(), vec![]));
        let none = Simulated { cuda: None, wgpu: vec![] };
        let (opened, reasons) = of(&none, "auto");
        assert_eq!(opened, "cpu:0");
        let why = |d: &str, w: &str| (d.to_owned(), w.to_owned());
        assert_eq!(reasons, [why("cuda", "no library"), why("wgpu", "there is no device")]);
        let second = Simulated { cuda: Some(vec![Some("broken"), None]), wgpu: vec![] };
        assert_eq!(of(&second, "auto"), ("cuda:1".into(), vec![why("cuda:0", "broken")]));
    }

    #[test]
    fn software_is_taken_only_by_name() {
        let soft = Simulated { cuda: None, wgpu: vec![(SOFT, None, None)] };
        let (opened, reasons) = of(&soft, "auto");
        assert_eq!(opened, "cpu:0");
        assert!(reasons.iter().any(|(device, why)| device == "wgpu:0" && why.contains("only by name")));
        assert_eq!(of(&soft, "wgpu").0, "wgpu:0");
        let both = Simulated { cuda: None, wgpu: vec![(SOFT, None, None), (HARD, None, None)] };
        assert_eq!(of(&both, "wgpu").0, "wgpu:1");
        assert_eq!(of(&both, "auto").0, "wgpu:1");
        assert_eq!(of(&both, "wgpu:0").0, "wgpu:0");
    }

    #[test]
    fn what_lacks_something_or_does_not_open_is_passed_over_with_its_reason() {
        let machine = Simulated {
            cuda: Some(vec![Some("the driver is too old")]),
            wgpu: vec![
                (HARD, Some("too little memory"), None),
                (HARD, None, Some("lost")),
                (HARD, None, None),
            ],
        };
        let (opened, reasons) = of(&machine, "auto");
        assert_eq!(opened, "wgpu:2");
        let told: Vec<_> = reasons.iter().map(|(d, w)| (d.as_str(), w.as_str())).collect();
        assert_eq!(
            told,
            [("cuda:0", "the driver is too old"), ("wgpu:0", "too little memory"), ("wgpu:1", "lost")]
        );
    }

    #[test]
    fn a_device_that_was_named_and_cannot_be_used_is_an_error_with_every_reason() {
        let machine = Simulated {
            cuda: None,
            wgpu: vec![(HARD, Some("too little memory"), None), (HARD, None, Some("lost"))],
        };
        let reasons = |selector: &str| {
            let e = choose(&machine, &selector.parse().unwrap()).unwrap_err();
            assert_eq!(e.code(), Code::DeviceUnavailable);
            assert!(e.hint_text().is_some());
            let source = std::error::Error::source(&e).unwrap().downcast_ref::<Unavailable>().unwrap();
            source.reasons.iter().map(|r| format!("{}: {}", r.device, r.why)).collect::<Vec<_>>()
        };
        assert_eq!(reasons("cuda"), ["cuda: no library"]);
        assert_eq!(reasons("cuda:7"), ["cuda: no library"]);
        assert_eq!(reasons("wgpu"), ["wgpu:0: too little memory", "wgpu:1: lost"]);
        assert_eq!(reasons("wgpu:1"), ["wgpu:1: lost"]);
        assert_eq!(reasons("wgpu:2"), ["wgpu:2: there is no device of this number"]);
        assert_eq!(of(&machine, "reference").0, "reference");
    }
}
