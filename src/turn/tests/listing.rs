//! Listing of allocations.

use super::*;

#[test]
fn pages_list_every_living_allocation_once_in_order_of_id() {
    let mut world = World::new();
    let allocate = || Request::Allocate {
        family: None,
        lifetime: None,
    };
    let mut clients: Vec<_> = (0..5).map(|n| (at(6000 + n), user())).collect();
    for (here, client) in &mut clients {
        world.ask(here, client, allocate()).unwrap();
    }
    let ids = |page: &[AllocationRecord]| page.iter().map(|r| r.id).collect::<Vec<_>>();
    let first = world.server.list_allocations(world.now, 0, 2);
    assert_eq!(first.len(), 2);
    let [_, cursor] = ids(&first)[..] else {
        panic!()
    };
    // The allocation at the cursor ends, and a new one reuses its index in the table.
    assert!(
        world
            .server
            .end_allocation(world.now, cursor, EndReason::Closed)
    );
    world.settle();
    world.ask(&at(7000), &mut user(), allocate()).unwrap();
    let rest = world.server.list_allocations(world.now, cursor, 100);
    assert_eq!(rest.len(), 4, "the remaining three and the new one");
    assert!(ids(&rest).is_sorted() && ids(&rest)[0] > cursor);
    assert!(
        world
            .server
            .list_allocations(world.now, ids(&rest)[3], 2)
            .is_empty()
    );
}

#[test]
fn an_allocation_is_found_by_its_id_while_it_lives() {
    let (mut world, ..) = allocated();
    let id = world.server.list_allocations(world.now, 0, 1)[0].id;
    assert_eq!(
        world.server.allocation(world.now, id).unwrap().record.id,
        id
    );
    assert!(world.server.allocation(world.now, id + 1).is_none());
    assert!(
        !world
            .server
            .end_allocation(world.now, id + 1, EndReason::Closed)
    );
    assert!(
        world
            .server
            .end_allocation(world.now, id, EndReason::Closed)
    );
    assert!(world.server.allocation(world.now, id).is_none());
    assert!(
        !world
            .server
            .end_allocation(world.now, id, EndReason::Closed)
    );
}
