//! The page of `/metrics` as OTLP metrics. The page is what there is: the recorder keeps its numbers to itself, and so a collector has the
//! same numbers by the same names as one that scrapes.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
    number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::text;

/// The message for `/v1/metrics`: counters since `started`, gauges of `now`.
pub(super) fn message(
    page: &str,
    resource: Resource,
    scope: InstrumentationScope,
    started: u64,
    now: u64,
) -> ExportMetricsServiceRequest {
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope), metrics: metrics(page, started, now), ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Of a page in the Prometheus text format, as our recorder writes it: counters and gauges.
fn metrics(page: &str, started: u64, now: u64) -> Vec<Metric> {
    let (mut counters, mut says) = (Vec::new(), BTreeMap::new());
    let mut points: BTreeMap<&str, Vec<NumberDataPoint>> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            if kind == "counter" {
                counters.push(name);
            }
        } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            says.insert(name, help.to_owned());
        } else if let Some((name, attributes, value)) = sample(line) {
            let value = Some(value);
            let point = NumberDataPoint { attributes, time_unix_nano: now, value, ..NumberDataPoint::default() };
            points.entry(name).or_default().push(point);
        }
    }
    let metric = |(name, mut data_points): (&str, Vec<NumberDataPoint>)| {
        let data = if counters.contains(&name) {
            data_points.iter_mut().for_each(|point| point.start_time_unix_nano = started);
            let aggregation_temporality = AggregationTemporality::Cumulative.into();
            Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
        } else {
            Data::Gauge(Gauge { data_points })
        };
        let description = says.get(name).cloned().unwrap_or_default();
        Metric { name: name.to_owned(), description, data: Some(data), ..Metric::default() }
    };
    points.into_iter().map(metric).collect()
}

/// `name{label="value",...} number`
fn sample(line: &str) -> Option<(&str, Vec<KeyValue>, Value)> {
    if line.starts_with('#') {
        return None;
    }
    let (named, value) = line.rsplit_once(' ')?;
    let value = match value.parse::<i64>() {
        Ok(whole) => Value::AsInt(whole),
        Err(_) => Value::AsDouble(value.parse().ok()?),
    };
    match named.split_once('{') {
        None => Some((named, Vec::new(), value)),
        Some((name, labels)) => Some((name, attributes(labels.strip_suffix('}')?)?, value)),
    }
}

/// `label="value",...`, where a backslash stands before `\`, `"` and `n`.
fn attributes(mut labels: &str) -> Option<Vec<KeyValue>> {
    let mut attributes = Vec::new();
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in rest.char_indices() {
            match c {
                'n' if escaped => value.push('\n'),
                '\\' if !escaped => {}
                '"' if !escaped => {
                    end = Some(at);
                    break;
                }
                c => value.push(c),
            }
            escaped = c == '\\' && !escaped;
        }
        attributes.push(text(name, value));
        labels = rest.get(end?.saturating_add(1)..)?.trim_start_matches(',');
    }
    Some(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, labels: &[(&str, &str)], expect: Option<(&str, Value)>) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| text(name, (*value).to_owned())).collect();
        assert_eq!(sample(line), expect.map(|(name, value)| (name, labels, value)), "{line}");
    }

    #[test]
    fn lines_of_the_page() {
        check("a_total 7", &[], Some(("a_total", Value::AsInt(7))));
        check("a 0.25", &[], Some(("a", Value::AsDouble(0.25))));
        check(r#"a{x="1",y="q\"}, z=\\ \n"} 7"#, &[("x", "1"), ("y", "q\"}, z=\\ \n")], Some(("a", Value::AsInt(7))));
        check("# TYPE a counter", &[], None);
        check("", &[], None);
        check("a{x=\"1\" 7", &[], None);
    }

    #[test]
    fn counters_have_a_begin_and_gauges_none() {
        let page =
            "# HELP a_total Of a.\n# TYPE a_total counter\na_total{k=\"v\"} 2\na_total{k=\"w\"} 3\n\n# TYPE b gauge\nb 1.5\n";
        let found = metrics(page, 10, 20);
        let [a, b] = &found[..] else { panic!("{found:?}") };
        let (Some(Data::Sum(sum)), Some(Data::Gauge(gauge))) = (&a.data, &b.data) else { panic!("{found:?}") };
        assert_eq!(
            (a.name.as_str(), a.description.as_str(), sum.is_monotonic, sum.data_points.len()),
            ("a_total", "Of a.", true, 2)
        );
        assert!(sum.data_points.iter().all(|point| (point.start_time_unix_nano, point.time_unix_nano) == (10, 20)));
        assert_eq!((gauge.data_points[0].start_time_unix_nano, &gauge.data_points[0].value), (0, &Some(Value::AsDouble(1.5))));
    }
}
