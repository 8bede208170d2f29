//! OpenAI's own Python client against the router on a socket.

use std::{path::Path, process::Command, time::Duration};

use futures::{StreamExt, stream};
use router::{Error, Prompt};

use crate::{scripted::*, serving::serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_openai_package_is_answered_as_it_expects() {
    let python = python();
    // What it does depends on what it is told, so that one server serves the whole script.
    let backend = Scripted::opening(|request| {
        let Prompt::Chat(messages) = &request.prompt else {
            return Ok(stream::iter(hello()).boxed());
        };
        match messages.last().map(|message| message.content.as_str()) {
            Some("too long") => Err(Error::ContextLength {
                prompt_tokens: 3000,
                max_tokens: 1,
                context_tokens: 2048,
            }),
            Some("busy") => Err(Error::Busy {
                reason: "no cells left".to_owned(),
                retry_after: Duration::from_secs(1),
            }),
            Some("break off") => {
                let lost = Error::Interrupted {
                    reason: "node b is gone".to_owned(),
                };
                Ok(stream::iter(vec![started(), text("Hel"), Err(lost)]).boxed())
            }
            Some("go on") => Ok(stream::iter(vec![started(), text("Hel")])
                .chain(stream::pending())
                .boxed()),
            _ => Ok(stream::iter(hello()).boxed()),
        }
    });
    let server = serve(&backend, Duration::from_secs(5)).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openai_client.py");
    let url = format!("http://{}/v1", server.address);
    let output = tokio::task::spawn_blocking(move || Command::new(python).arg(script).arg(url).output())
        .await
        .unwrap();
    let output = output.expect("python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let abandoned = backend.last_request();
    tokio::time::timeout(Duration::from_secs(20), abandoned.cancellation.cancelled())
        .await
        .unwrap();
}

fn python() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/python.sh");
    let output = Command::new(script)
        .arg("--installed")
        .output()
        .expect("tests/programs/python.sh starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
