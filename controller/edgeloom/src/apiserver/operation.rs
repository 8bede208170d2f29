//! How an API server is run, under the names that kube-apiserver's flags have: its certificates, its limits, its audit log, its end.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use apiserver::{
    audit::{self, policy::Policy},
    serve::{CertificateFiles, Limits, ServeConfig},
};

/// How the server is run.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Operation {
    /// A certificate and its key (PEM files), shown to clients that ask by a name that it holds, and read again when they change;
    /// may be given several times
    #[arg(long, value_name = "CERT,KEY", value_parser = certificate_files)]
    tls_sni_cert_key: Vec<CertificateFiles>,
    /// Requests that read, and are worked on at once; more are answered with 429
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().read_only)]
    max_requests_inflight: usize,
    /// Requests that write, and are worked on at once; more are answered with 429
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().mutating)]
    max_mutating_requests_inflight: usize,
    /// Watches that are open at once; more are answered with 429
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().watches)]
    max_watches: usize,
    /// Seconds after which a request other than a watch is answered with 504
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    request_timeout: u64,
    /// Seconds in which the server goes on after SIGTERM, while /readyz fails already
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    shutdown_delay_duration: u64,
    /// The audit log's file; without it there is none
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// What the audit log tells, an audit.k8s.io/v1 Policy; without it: who asked for what, of every request
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    audit_policy_file: Option<PathBuf>,
    /// Megabytes at which a new file of the audit log is begun
    #[arg(long, value_name = "MEGABYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    audit_log_maxsize: u64,
    /// Full files of the audit log that are kept
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    audit_log_maxbackup: usize,
}

fn certificate_files(text: &str) -> Result<CertificateFiles, String> {
    match text.split_once(',') {
        Some((certificate, key)) if !certificate.is_empty() && !key.is_empty() => Ok(CertificateFiles {
            certificate: certificate.into(),
            key: key.into(),
        }),
        _ => Err("write CERT,KEY: two files".to_owned()),
    }
}

impl Operation {
    /// Puts it into a configuration.
    ///
    /// # Errors
    /// When the audit policy cannot be read, or nothing may be asked.
    pub(super) fn configure(self, config: &mut ServeConfig) -> anyhow::Result<()> {
        let audit = self.audit()?;
        let Self {
            tls_sni_cert_key,
            max_requests_inflight: read_only,
            max_mutating_requests_inflight: mutating,
            max_watches: watches,
            request_timeout,
            shutdown_delay_duration,
            ..
        } = self;
        ensure!(
            read_only > 0 && mutating > 0 && watches > 0,
            "--max-requests-inflight, --max-mutating-requests-inflight and --max-watches must be 1 or more"
        );
        config.certificates = tls_sni_cert_key;
        config.limits = Limits {
            read_only,
            mutating,
            watches,
        };
        config.request_timeout = Duration::from_secs(request_timeout);
        config.shutdown_delay = Duration::from_secs(shutdown_delay_duration);
        config.audit = audit;
        Ok(())
    }

    fn audit(&self) -> anyhow::Result<Option<audit::Config>> {
        let Some(path) = self.audit_log_path.clone() else {
            return Ok(None);
        };
        let policy = match &self.audit_policy_file {
            None => Policy::metadata_of_all(),
            Some(file) => {
                let named = || format!("--audit-policy-file {}", file.display());
                let text = fs::read_to_string(file).with_context(named)?;
                Policy::parse(&text)
                    .map_err(|why| anyhow!(why))
                    .with_context(named)?
            }
        };
        Ok(Some(audit::Config {
            path,
            bytes_max: self.audit_log_maxsize.saturating_mul(1 << 20),
            backups_max: self.audit_log_maxbackup,
            policy,
        }))
    }
}
