//! The lines of JSON in which this program speaks with the tests.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Prints one line.
pub(crate) fn say(line: &Value) {
    println!("{line}");
}

/// The time of the machine's clock in milliseconds, which the other end reads too.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64() * 1000.0
}

/// The text of this name in a command.
pub(crate) fn text<'a>(command: &'a Value, name: &str) -> Result<&'a str, String> {
    let text = command.get(name).and_then(Value::as_str);
    text.ok_or_else(|| format!("no {name} in {command}"))
}
