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

/// A state to go on from: made again from the one before it when its turn comes, since worlds are large and most
/// states are in the last level.
struct Node {
    id: u32,
    /// The place of the state before it, among those of the level before.
    parent: u32,
    action: Option<Action>,
}

/// Searches until something is violated, all is seen, or so many states are.
pub(crate) fn search(config: &Config, states_max: usize) -> Found {
    search_from(config, World::new(config), states_max)
}

/// The same from another state than the first one.
pub(crate) fn search_from(config: &Config, mut start: World, states_max: usize) -> Found {
    let mut visited = Visited::new();
    start.seal();
    visited.insert(fingerprint(&start));
    let mut steps = vec![Step { parent: 0, action: 0 }];
    let mut parents = vec![Some(start.clone())];
    let mut level = vec![Node { id: 0, parent: 0, action: None }];
    let mut depth = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        let mut worlds = Vec::new();
        let mut used = 0;
        for node in std::mem::take(&mut level) {
            // They come in the order of those before them: earlier ones are not needed any more.
            parents[used..node.parent as usize].fill(None);
            used = node.parent as usize;
            let world = node.world(config, &parents);
            let children = next.len();
            for (number, action) in world.actions(config).into_iter().enumerate() {
                let mut child = world.clone();
                child.act(config, action);
                child.seal();
                let violation = child.violation.take();
                if violation.is_none() && !visited.insert(fingerprint(&child)) {
                    continue;
                }
                steps.push(Step { parent: node.id, action: number as u16 });
                let id = steps.len() as u32 - 1;
                if let Some(what) = violation {
                    let counterexample = Some((schedule(config, start, &steps, id), what));
                    return Found { states: steps.len(), depth, exhausted: false, counterexample };
                }
                next.push(Node { id, parent: worlds.len() as u32, action: Some(action) });
            }
            worlds.push((next.len() > children).then_some(world));
            if steps.len() >= states_max {
                return Found { states: steps.len(), depth, exhausted: false, counterexample: None };
            }
        }
        level = next;
        parents = worlds;
        depth += 1;
    }
    Found { states: steps.len(), depth, exhausted: true, counterexample: None }
}

impl Node {
    fn world(&self, config: &Config, parents: &[Option<World>]) -> World {
        let parent = parents[self.parent as usize].as_ref().expect("states before this one are kept");
        let mut world = parent.clone();
        if let Some(action) = self.action {
            world.act(config, action);
            world.seal();
        }
        world
    }
}

/// The actions from the start to a state.
fn schedule(config: &Config, mut world: World, steps: &[Step], mut id: u32) -> Vec<Action> {
    let mut numbers = Vec::new();
    while id != 0 {
        let step = steps[id as usize];
        numbers.push(step.action);
        id = step.parent;
    }
    let mut schedule = Vec::new();
    for number in numbers.into_iter().rev() {
        let action = world.actions(config)[number as usize];
        world.act(config, action);
        schedule.push(action);
    }
    schedule
}
