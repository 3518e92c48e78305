//! The authorities that are believed when they vouch for another server.

use std::path::Path;

use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::identity::{LoadError, Problem, read_certificates};

/// A set of trust anchors.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
}

impl Trust {
    /// Nobody is believed.
    #[must_use]
    pub const fn nobody() -> Self {
        Self { anchors: Vec::new() }
    }

    /// The authorities that the operating system trusts; what cannot be read there is logged and left out.
    #[must_use]
    pub fn system() -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's trusted authorities could not be read");
        }
        let mut trust = Self::nobody();
        let unusable = found.certs.iter().filter(|certificate| trust.add(certificate).is_err()).count();
        if unusable > 0 {
            tracing::debug!(unusable, "some of the system's trusted authorities could not be used");
        }
        trust
    }

    /// Trusts one more certificate.
    ///
    /// # Errors
    /// It is not a certificate.
    pub fn add(&mut self, certificate: &CertificateDer<'_>) -> Result<(), Problem> {
        let anchor = webpki::anchor_from_trusted_cert(certificate)
            .map_err(|error| Problem::MalformedCertificate(error.to_string()))?;
        self.anchors.push(anchor.to_owned());
        Ok(())
    }

    /// Trusts all certificates of a PEM file and says how many there were.
    ///
    /// # Errors
    /// The file and what is wrong with it.
    pub fn add_pem_file(&mut self, path: &Path) -> Result<usize, LoadError> {
        let error = |problem| LoadError { path: path.to_owned(), problem };
        let pem = std::fs::read(path).map_err(|reason| error(Problem::Unreadable(reason)))?;
        let certificates = read_certificates(&pem).map_err(error)?;
        for certificate in &certificates {
            self.add(certificate).map_err(error)?;
        }
        Ok(certificates.len())
    }

    /// The anchors, for building a path.
    #[must_use]
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::development::DevelopmentCa;

    #[test]
    fn anchors_from_a_file() {
        let folder = std::env::temp_dir().join(format!("comity-trust-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("anchors.pem");
        let two = DevelopmentCa::generate().unwrap().pem() + &DevelopmentCa::generate().unwrap().pem();
        std::fs::write(&path, two).unwrap();
        let mut trust = Trust::nobody();
        assert_eq!(trust.add_pem_file(&path).unwrap(), 2);
        assert_eq!(trust.anchors().len(), 2);

        std::fs::write(&path, "nothing of the kind").unwrap();
        let error = trust.add_pem_file(&path).unwrap_err();
        assert!(matches!(error.problem, Problem::NoCertificate));
        assert!(error.to_string().contains("anchors.pem"), "{error}");
        assert!(matches!(trust.add_pem_file(&folder.join("missing")).unwrap_err().problem, Problem::Unreadable(_)));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
