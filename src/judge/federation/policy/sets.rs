//! Arrays as sets of JSON values. Two objects are one value whatever the order of their members.

use crate::values::json::Json;

/// Whether two values are one: arrays by their order, objects by their members.
pub(super) fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Object(one), Json::Object(other)) => {
            one.iter().count() == other.iter().count()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|theirs| same(value, theirs)))
        }
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

/// Whether two parameters have one value: as [`same`], and an array is a set.
pub(super) fn equal(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Array(one), Json::Array(other)) => within(one, other) && within(other, one),
        (one, other) => same(one, other),
    }
}

pub(super) fn has(set: &[Json], value: &Json) -> bool {
    set.iter().any(|element| same(element, value))
}

/// Whether every element of `inner` is in `outer`.
pub(super) fn within(inner: &[Json], outer: &[Json]) -> bool {
    inner.iter().all(|element| has(outer, element))
}

pub(super) fn union(one: &[Json], other: &[Json]) -> Vec<Json> {
    let mut all: Vec<Json> = Vec::new();
    for element in one.iter().chain(other) {
        if !has(&all, element) {
            all.push(element.clone());
        }
    }
    all
}

pub(super) fn intersection(one: &[Json], other: &[Json]) -> Vec<Json> {
    let mut both: Vec<Json> = Vec::new();
    for element in one.iter().filter(|element| has(other, element)) {
        if !has(&both, element) {
            both.push(element.clone());
        }
    }
    both
}
