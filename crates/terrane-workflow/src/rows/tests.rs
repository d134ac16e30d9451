use super::*;
use crate::{Retry, Step, Undo};

fn plan() -> Plan {
    let step = |id: &str, after: &[&str]| Step {
        id: id.into(),
        action: "x".into(),
        after: after.iter().map(|&s| s.into()).collect(),
        undo: Undo::Action,
        retry: Retry { failures_max: 1, first_ms: 2, longest_ms: 3 },
        with: BTreeMap::new(),
    };
    Plan::new(Template {
        name: "t".into(),
        version: 1,
        params: vec![],
        steps: vec![step("a", &[]), step("b", &["a"])],
    })
    .unwrap()
}

fn view() -> RunView {
    let mut view = RunView {
        shard: "s".into(),
        subject: "v".into(),
        template: "t".into(),
        version: 1,
        params: BTreeMap::from([("k".into(), "x".into())]),
        created_unix_ms: 5,
        wish: Wish::Pause,
        retries: (1, 0),
        events: 2,
        status: Status::Running,
        pivot_started: false,
        cause: None,
        steps: Vec::new(),
    };
    let plan = plan();
    view.refresh(&plan, &State::new(&plan), |_, _| (0, 0));
    view
}

#[test]
fn the_rows_are_pinned() {
    let mut view = view();
    view.steps.truncate(1);
    let bytes = postcard::to_extend(&view, vec![RunView::VERSION]).unwrap();
    let waiting = [&[1, b'a', 7][..], b"waiting", &[0, 0, 0, 0, 0]].concat();
    let head = [1, 1, b's', 1, b'v', 1, b't', 1, 1, 1, b'k', 1, b'x', 5, 1, 1, 0, 2, 0, 0, 0, 1];
    assert_eq!(bytes, [&head[..], &waiting].concat());

    let template = TemplateRow(plan().template().clone());
    let bytes = postcard::to_extend(&template, vec![TemplateRow::VERSION]).unwrap();
    let a = [1, b'a', 1, b'x', 0, 0, 1, 2, 3, 0];
    let b = [1, b'b', 1, b'x', 1, 1, b'a', 0, 1, 2, 3, 0];
    assert_eq!(bytes, [&[1, 1, b't', 1, 0, 2][..], &a, &b].concat());
}

#[test]
fn names_of_runs_are_checked() {
    for good in ["a", "modify-vol-0123.4"] {
        let id = RunId::parse(good).unwrap();
        assert_eq!(RunId::unpack(&id.pack()).unwrap(), id);
    }
    for bad in ["", "A", "a/b", "a b", &"x".repeat(129)] {
        assert!(RunId::parse(bad).is_err(), "{bad}");
        assert!(RunId::unpack(&bad.pack()).is_err(), "{bad}");
    }
}

#[test]
fn progress_is_the_share_of_what_is_done() {
    let mut view = view();
    assert_eq!(view.percent(), 0);
    view.steps[0].state = "done".into();
    view.steps[1].state = "running".into();
    view.steps[1].progress = (1, 2);
    assert_eq!(view.percent(), 75);
    view.status = Status::Undoing;
    view.steps[1].state = "undone".into();
    assert_eq!(view.percent(), 50);
    view.steps[0].state = "undone".into();
    assert_eq!(view.percent(), 100);
}

#[test]
fn what_is_wanted_becomes_commands() {
    let plan = plan();
    let mut state = State::new(&plan);
    assert_eq!(view().commands(&state), [Command::Retry, Command::Pause]);
    state.apply(&plan, 0, &crate::machine::Event::Paused);
    assert_eq!(view().commands(&state), [Command::Retry]);
    let go = RunView { wish: Wish::Go, retries: (1, 1), ..view() };
    assert_eq!(go.commands(&state), [Command::Resume]);
    assert!(RunView { status: Status::Paused, ..go.clone() }.is_open());
    assert!(!RunView { status: Status::Completed, ..go }.is_open());
}
