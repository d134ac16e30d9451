//! Breadth-first search over everything that may happen.

use crate::actions::Action;
use crate::configs::Config;
use crate::visited::{Visited, fingerprint};
use crate::world::World;

/// What a search came to.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) depth: usize,
    /// All states within the budget were seen.
    pub(crate) exhausted: bool,
    pub(crate) counterexample: Option<(Vec<Action>, String)>,
}

/// A state's parent and which of its actions led here.
#[derive(Clone, Copy)]
struct Step {
    parent: u32,
    action: u16,
}

/// Searches until something is violated, all is seen, or so many states are.
pub(crate) fn search(config: &Config, states_max: usize) -> Found {
    let mut visited = Visited::new();
    let mut start = World::new(config);
    start.seal();
    visited.insert(fingerprint(&start));
    let mut steps = vec![Step { parent: 0, action: 0 }];
    let mut level = vec![(0u32, start)];
    let mut depth = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        for (id, world) in std::mem::take(&mut level) {
            for (number, action) in world.actions(config).into_iter().enumerate() {
                let mut child = world.clone();
                child.act(config, action);
                child.seal();
                let violation = child.violation.take();
                if violation.is_none() && !visited.insert(fingerprint(&child)) {
                    continue;
                }
                steps.push(Step { parent: id, action: number as u16 });
                let child_id = steps.len() as u32 - 1;
                if let Some(what) = violation {
                    let schedule = schedule(config, &steps, child_id);
                    let states = steps.len();
                    return Found { states, depth, exhausted: false, counterexample: Some((schedule, what)) };
                }
                next.push((child_id, child));
            }
            if steps.len() >= states_max {
                return Found { states: steps.len(), depth, exhausted: false, counterexample: None };
            }
        }
        level = next;
        depth += 1;
    }
    Found { states: steps.len(), depth, exhausted: true, counterexample: None }
}

/// The actions from the start to a state.
fn schedule(config: &Config, steps: &[Step], mut id: u32) -> Vec<Action> {
    let mut numbers = Vec::new();
    while id != 0 {
        let step = steps[id as usize];
        numbers.push(step.action);
        id = step.parent;
    }
    let mut world = World::new(config);
    let mut schedule = Vec::new();
    for number in numbers.into_iter().rev() {
        let action = world.actions(config)[number as usize];
        world.act(config, action);
        schedule.push(action);
    }
    schedule
}
