//! What an etcd store promises beyond the common suite: several servers share it, securely, and outlive its failures.

use std::time::Duration;

use apiserver::store::{
    Error, Range, Store, Write,
    etcd::{ClientCertificate, Tls},
};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::etcd::{Secured, Server, open};

const SOON: Duration = Duration::from_secs(60);

fn create(key: &str, value: &str) -> Write {
    Write::Create {
        key: key.into(),
        value: Bytes::from(value.to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_writes_every_other_reads_at_once() {
    let server = Server::start();
    let place = server.fresh(None);
    let (one, other) = (open(&place).await, open(&place).await);
    let stranger = open(&server.fresh(None)).await;
    let start = one.revision().await.expect("a revision");
    let mut watch = other.watch("/a/", start).await.expect("nothing is compacted");
    for number in 0..50 {
        let key = format!("/a/{number}");
        let revision = one.commit(create(&key, "1")).await.expect("nothing is there");
        let entry = other.get(&key).await.expect("get works").expect("it is there");
        assert_eq!(
            entry.revision, revision,
            "a read that began after the write sees it"
        );
        assert_eq!(
            other.commit(create(&key, "2")).await,
            Err(Error::Precondition {
                actual: Some(revision)
            })
        );
    }
    let mut told = 0;
    while told < 50 {
        let batch = tokio::time::timeout(SOON, watch.next())
            .await
            .expect("events come");
        told += batch.expect("kept").len();
    }
    let page = stranger.list("/", Range::default()).await.expect("list works");
    assert_eq!(page.entries, [], "another prefix is another store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_later_knows_the_history_that_etcd_keeps() {
    let server = Server::start();
    let place = server.fresh(None);
    let first = open(&place).await;
    let one = first.commit(create("/a", "1")).await.expect("nothing is there");
    let two = first.commit(create("/b", "2")).await.expect("nothing is there");
    let before = first.list("/", Range::default()).await.expect("list works");

    let second = open(&place).await;
    let mut watch = second.watch("/", one).await.expect("the history is kept");
    assert_eq!(watch.next().await.expect("kept")[0].revision, two);
    first.compact(two).await.expect("compaction works");

    let third = open(&place).await;
    assert_eq!(
        third.list("/", Range::default()).await.expect("list works"),
        before
    );
    assert_eq!(
        third.watch("/", one).await.err(),
        Some(Error::Compacted {
            asked: one,
            oldest: two
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_go_on_without_a_gap_when_etcd_was_away() {
    let mut server = Server::start();
    let place = server.fresh(None);
    let store = open(&place).await;
    let start = store.revision().await.expect("a revision");
    let mut watch = store.watch("/", start).await.expect("nothing is compacted");
    let one = store.commit(create("/a", "1")).await.expect("nothing is there");
    server.kill();
    store
        .commit(create("/b", "1"))
        .await
        .expect_err("nobody is there");
    server.run();
    let two = tokio::time::timeout(SOON, async {
        loop {
            match store.commit(create("/c", "1")).await {
                Ok(revision) => return revision,
                Err(Error::Precondition { actual }) => return actual.expect("it was written before"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await
    .expect("etcd comes back");
    let mut told = Vec::new();
    while told.last().is_none_or(|last| *last < two) {
        let batch = tokio::time::timeout(SOON, watch.next())
            .await
            .expect("events come");
        told.extend(batch.expect("kept").iter().map(|event| event.revision));
    }
    assert_eq!((told[0], told.last()), (one, Some(&two)));
    assert!(told.is_sorted_by(|left, right| left < right), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_answer_is_passed_over() {
    let server = Server::start();
    let mut place = server.fresh(None);
    place.endpoints.insert(0, "127.0.0.1:1".to_owned());
    let store = open(&place).await;
    store
        .commit(create("/a", "1"))
        .await
        .expect("the other member answers");
    assert!(store.get("/a").await.expect("get works").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_secured_on_both_sides() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(params, authority_key);
    let issue = |names: Vec<String>| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        (
            params.signed_by(&key, &issuer).expect("a certificate").pem(),
            key.serialize_pem(),
        )
    };
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let (certificate, key) = issue(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
    let server = Server::start_with(Some(Secured {
        authority: write("ca.crt", &authority.pem()),
        certificate: write("server.crt", &certificate),
        key: write("server.key", &key),
    }));
    let (certificate_pem, key_pem) = issue(vec!["client".to_owned()]);
    let tls = Tls {
        authority_pem: authority.pem(),
        client: Some(ClientCertificate {
            certificate_pem,
            key_pem,
        }),
    };
    let store = open(&server.fresh(Some(tls.clone()))).await;
    store.commit(create("/a", "1")).await.expect("nothing is there");

    let without = server.fresh(Some(Tls { client: None, ..tls }));
    let refused = apiserver::store::Etcd::open(&without)
        .await
        .expect_err("no certificate is shown");
    assert!(
        refused.to_string().starts_with("the store failed to"),
        "{refused}"
    );
}
