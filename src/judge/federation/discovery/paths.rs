//! Ways through a graph from the subject to anchors.

use std::collections::VecDeque;

use super::graph::Graph;

/// Every way without a loop on which each superior's statement is at hand, the shortest first; and whether those are all. At most so
/// many beginnings of ways are looked at.
pub(super) fn to_anchors(graph: &Graph<'_>, most: usize) -> (Vec<Vec<usize>>, bool) {
    let arriving = arriving(graph);
    let (mut found, mut open, mut looked_at) = (Vec::new(), VecDeque::from([vec![0]]), 0);
    while let Some(path) = open.pop_front() {
        if looked_at >= most {
            return (found, false);
        }
        looked_at += 1;
        let Some(end) = path.last().copied() else { continue };
        if graph.anchor(end).is_some() {
            found.push(path);
            continue;
        }
        for superior in graph.attesting(end) {
            if !path.contains(&superior) && arriving.contains(&superior) {
                open.push_back(path.iter().copied().chain([superior]).collect());
            }
        }
    }
    (found, true)
}

/// The entities from which statements lead to an anchor.
fn arriving(graph: &Graph<'_>) -> Vec<usize> {
    let mut arriving: Vec<usize> = (0..graph.len()).filter(|entity| graph.anchor(*entity).is_some()).collect();
    loop {
        let rest = (0..graph.len()).filter(|entity| !arriving.contains(entity));
        let more: Vec<usize> = rest.filter(|entity| graph.attesting(*entity).any(|above| arriving.contains(&above))).collect();
        if more.is_empty() {
            return arriving;
        }
        arriving.extend(more);
    }
}
