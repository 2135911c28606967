//! Agreement with dp-accounting and opacus, on the table that `benches/peers/privacy.py --table` wrote.

use gristmill_privacy::Method;
use serde_json::Value;

use super::epsilon;

#[test]
fn epsilons_of_dp_accounting_and_opacus() {
    let table: Value = serde_json::from_str(include_str!("peers.json")).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.len() >= 20);
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row}"));
        let (sigma, q, steps, delta) =
            (number("sigma"), number("q"), number("steps") as u64, number("delta"));
        let pld = epsilon(sigma, q, steps, delta, Method::Pld);
        // Theirs from below, and theirs from above.
        assert!(pld >= number("optimistic"), "{row}: {pld}");
        assert!(pld <= number("pessimistic") * 1.005, "{row}: {pld}");
        let rdp = epsilon(sigma, q, steps, delta, Method::Rdp);
        assert!((rdp / number("opacusRdp") - 1.0).abs() < 1e-6, "{row}: {rdp}");
        assert!(pld <= rdp, "{row}: {pld} by PLD, {rdp} by RDP");
    }
}
