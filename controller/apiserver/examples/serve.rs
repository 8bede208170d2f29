//! Serves a data directory until Ctrl-C, for trying clients by hand:
//! `cargo run -p apiserver --example serve -- /tmp/data 127.0.0.1:0`, then `kubectl --kubeconfig /tmp/data/kubeconfig …`.

use std::{error::Error, path::PathBuf};

use apiserver::serve::{ServeConfig, start};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let data_dir = PathBuf::from(arguments.next().ok_or("usage: serve DATA-DIR [ADDRESS]")?);
    let listen = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:0".to_owned())
        .parse()?;
    let kubeconfig = data_dir.join("kubeconfig");
    let stop = CancellationToken::new();
    let config = ServeConfig {
        listen,
        kubeconfig: Some(kubeconfig.clone()),
        ..ServeConfig::new(data_dir)
    };
    let running = start(config, stop.clone()).await?;
    eprintln!(
        "serving {}; try: kubectl --kubeconfig {} get namespaces",
        running.url,
        kubeconfig.display()
    );
    tokio::signal::ctrl_c().await?;
    running.stop().await;
    Ok(())
}
