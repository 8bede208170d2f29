use super::*;

fn lease(holder: &str, renewed: i64) -> Lease {
    let mut lease = no_lease();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
        ..LeaseSpec::default()
    });
    lease
}

#[test]
fn a_lease_is_free_when_it_stood_still_for_its_duration_whatever_its_renew_time_says() {
    let (mut seen, begin) = (Seen::default(), Instant::now());
    let at = |seconds| begin + Duration::from_secs(seconds);
    let held = |expires| Judgement::Held {
        holder: "other".to_owned(),
        expires: at(expires),
    };
    // The holder's clock is decades behind ours.
    assert_eq!(seen.judge("me", Some(&lease("other", 100)), at(0)), held(15));
    assert_eq!(seen.judge("me", Some(&lease("other", 100)), at(14)), held(15));
    assert_eq!(seen.judge("me", Some(&lease("other", 102)), at(14)), held(29));
    assert_eq!(seen.judge("me", Some(&lease("other", 102)), at(28)), held(29));
    assert_eq!(
        seen.judge("me", Some(&lease("other", 102)), at(29)),
        Judgement::Free
    );
}

#[test]
fn a_lease_without_a_holder_or_of_ones_own_is_free_at_once() {
    for lease in [
        None,
        Some(lease("", 100)),
        Some(lease("me", 100)),
        Some(no_lease()),
    ] {
        let judged = Seen::default().judge("me", lease.as_ref(), Instant::now());
        assert_eq!(judged, Judgement::Free, "{lease:?}");
    }
}

#[test]
fn transitions_count_new_holders_and_renewals_keep_the_time_of_taking() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let first = held_by(no_lease(), "a", Timing::default(), at(10));
    assert_eq!(transitions_of(&first), 0);
    let renewed = held_by(first, "a", Timing::default(), at(12));
    let spec = renewed.spec.clone().unwrap();
    assert_eq!(
        (spec.lease_transitions, spec.lease_duration_seconds),
        (Some(0), Some(12))
    );
    assert_eq!(
        (spec.acquire_time, spec.renew_time),
        (Some(MicroTime(at(10))), Some(MicroTime(at(12))))
    );
    let taken = held_by(released(renewed, at(13)), "b", Timing::default(), at(14));
    assert_eq!((transitions_of(&taken), holder_of(&taken)), (1, Some("b")));
}
