//! Whom to trust: the system's authorities, a file of them, one pinned certificate, or anybody.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// A SHA-256 fingerprint of a certificate.
pub(super) type Fingerprint = [u8; 32];

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// The system's authorities.
    System,
    /// The authorities of this file.
    File(PathBuf),
    /// One certificate.
    Pin(Fingerprint),
    /// Anybody.
    Anybody,
}

/// Reads `sha256:` and 64 hexadecimal digits, with or without colons between them.
pub(super) fn fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: String = text.strip_prefix("sha256:")?.chars().filter(|c| *c != ':').collect();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = Fingerprint::default();
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A fingerprint as the configuration has it.
fn shown(fingerprint: &Fingerprint) -> String {
    fingerprint.iter().fold("sha256:".into(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn of(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut bytes = Fingerprint::default();
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
    bytes
}

/// How to speak TLS with those who are trusted.
///
/// # Errors
/// If a file cannot be read or holds no certificate.
pub(super) fn config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authorities = match trust {
        Trust::System => Some(system_roots()),
        Trust::File(path) => Some(roots_of(path)?),
        Trust::Pin(_) | Trust::Anybody => None,
    };
    // Without an authority nothing is trusted, and each handshake says what would be.
    let webpki = authorities.and_then(|roots| {
        WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().ok()
    });
    let verifier = Verifier { trust: trust.clone(), webpki, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("ca_file {}: {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"holds no certificate")) } else { Ok(roots) }
}

/// Decides about a certificate. That the other side has its key is checked whoever is trusted.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    webpki: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = of(end_entity);
        let wrong = |why: &str| {
            Error::General(format!(
                "its certificate, {}, {why}; if it is the right one, set pin to that, or ca_file to who signed it",
                shown(&presented)
            ))
        };
        match (&self.trust, &self.webpki) {
            (Trust::Anybody, _) => Ok(ServerCertVerified::assertion()),
            (Trust::Pin(pin), _) if *pin == presented => Ok(ServerCertVerified::assertion()),
            (Trust::Pin(pin), _) => Err(wrong(&format!("is not the pinned {}", shown(pin)))),
            (_, None) => Err(wrong("cannot be checked: this system has no authorities")),
            (_, Some(webpki)) => webpki
                .verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
                .map_err(|error| wrong(&format!("is not trusted ({error})"))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_openssl_and_we_print_it() {
        let plain = format!("sha256:{}", "0aFf".repeat(16));
        let read = fingerprint(&plain).expect("a fingerprint");
        assert_eq!(&read[..4], [0x0a, 0xff, 0x0a, 0xff]);
        assert_eq!(shown(&read), plain.to_lowercase());
        let colons = format!("sha256:{}", ["0A:FF"; 16].join(":"));
        assert_eq!(fingerprint(&colons), Some(read));
        for bad in ["", "sha256:", "sha1:00", &plain[..70], &plain.replace('F', "g"), &plain.replacen("0a", "ä", 1)] {
            assert_eq!(fingerprint(bad), None, "{bad}");
        }
        // What sha256sum prints for "abc" (FIPS 180-2, appendix B.1).
        let digest = of(&CertificateDer::from(b"abc".to_vec()));
        assert!(shown(&digest).starts_with("sha256:ba7816bf8f01cfea414140de5dae2223"), "{}", shown(&digest));
    }

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for path in [file.path(), Path::new("/nowhere/ca.pem")] {
            let error = config(&Trust::File(path.into())).expect_err("no certificate");
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        assert!(config(&Trust::System).is_ok() && config(&Trust::Anybody).is_ok());
    }
}
