//! The device itself: facts, environment, optics, network instances.

use serde_json::{Map, Value, json};

use super::{Default, Quirks, instance, member, object, push, text};
use crate::{Row, Rows};

pub(super) fn facts(rows: &Rows, quirks: &Quirks) -> Value {
    const MEMBERS: super::Members<'_> = &[
        ("vendor", "vendor", Default::Text("")),
        ("model", "model", Default::Text("")),
        ("serial_number", "serial_number", Default::Text("")),
        ("os_version", "os_version", Default::Text("")),
        ("hostname", "hostname", Default::Text("")),
        ("fqdn", "fqdn", Default::Text("")),
        ("uptime", "uptime_s", Default::Real(-1.0)),
        ("interface_list", "interfaces", Default::List),
    ];
    let nothing = Row::new();
    Value::Object(object(rows.iter().next().unwrap_or(&nothing), MEMBERS, quirks))
}

pub(super) fn environment(rows: &Rows, quirks: &Quirks) -> Value {
    const FAN: super::Members<'_> = &[("status", "ok", Default::Bool(true))];
    const TEMPERATURE: super::Members<'_> = &[
        ("temperature", "temperature_c", Default::Real(-1.0)),
        ("is_alert", "alert", Default::Bool(false)),
        ("is_critical", "critical", Default::Bool(false)),
    ];
    const POWER: super::Members<'_> = &[
        ("status", "ok", Default::Bool(true)),
        ("output", "output_w", Default::Real(-1.0)),
        ("capacity", "capacity_w", Default::Real(-1.0)),
    ];
    const CPU: super::Members<'_> = &[("%usage", "usage_percent", Default::Real(0.0))];
    const MEMORY: super::Members<'_> =
        &[("used_ram", "used_ram", Default::Int(0)), ("available_ram", "available_ram", Default::Int(0))];
    let mut answer = Map::new();
    for section in ["fans", "temperature", "power", "cpu", "memory"] {
        member(&mut answer, section);
    }
    for row in rows.iter() {
        let (section, members) = match text(row, "component") {
            "fan" => ("fans", FAN),
            "temperature" => ("temperature", TEMPERATURE),
            "power" => ("power", POWER),
            "cpu" => ("cpu", CPU),
            "memory" => {
                member(&mut answer, "memory").extend(object(row, MEMORY, quirks));
                continue;
            }
            _ => continue,
        };
        let of = Value::Object(object(row, members, quirks));
        member(&mut answer, section).insert(text(row, "name").to_owned(), of);
    }
    for section in &quirks.omit {
        answer.shift_remove(section);
    }
    Value::Object(answer)
}

pub(super) fn network_instances(rows: &Rows, quirks: &Quirks) -> Value {
    let instance = |row: &Row| {
        let name = instance(row, quirks, text(row, "name"));
        let told = |field: &str| row.get(field).cloned();
        let interfaces: Map<String, Value> = match told("interfaces") {
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(|name| (name.to_owned(), json!({}))).collect()
            }
            _ => Map::new(),
        };
        let of = json!({
            "name": name,
            "type": told("instance_type").unwrap_or_else(|| Value::from("L3VRF")),
            "state": {"route_distinguisher": told("route_distinguisher").unwrap_or_else(|| Value::from(""))},
            "interfaces": {"interface": interfaces},
        });
        (name.to_owned(), of)
    };
    Value::Object(rows.iter().map(instance).collect())
}

pub(super) fn optics(rows: &Rows, quirks: &Quirks) -> Value {
    let mut answer = Map::new();
    for row in rows.iter() {
        let mut row = row.clone();
        if quirks.alarm_shifts_columns && row.contains_key("laser_bias_alarm") {
            row.shift_remove("input_power_dbm");
            if let Some(level) = row.shift_remove("output_power_dbm") {
                row.insert("input_power_dbm".into(), level);
            }
        }
        let row = &row;
        let mut state = Map::new();
        for (group, fields) in [
            (
                "input_power",
                ["input_power_dbm", "input_power_avg_dbm", "input_power_min_dbm", "input_power_max_dbm"],
            ),
            (
                "output_power",
                ["output_power_dbm", "output_power_avg_dbm", "output_power_min_dbm", "output_power_max_dbm"],
            ),
            (
                "laser_bias_current",
                ["laser_bias_ma", "laser_bias_avg_ma", "laser_bias_min_ma", "laser_bias_max_ma"],
            ),
        ] {
            let default = quirks.defaults.get(group).cloned().unwrap_or_else(|| Value::from(0.0));
            let told = |field: &str| row.get(field).cloned().unwrap_or_else(|| default.clone());
            let [instant, avg, min, max] = fields.map(told);
            let figures = json!({"instant": instant, "avg": avg, "min": min, "max": max});
            state.insert(group.into(), figures);
        }
        let index = row.get("channel").cloned().unwrap_or_else(|| Value::from(0));
        let channel = json!({"index": index, "state": state});
        let channels = member(member(&mut answer, text(row, "interface")), "physical_channels");
        push(channels, "channel", channel);
    }
    Value::Object(answer)
}
