//! Another server: it lets in whoever connects, takes his word for everything, and listens.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use comity::net::tls::development::DevelopmentCa;
use comity::net::tls::provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;

use crate::VERONA;
use crate::line::{Ear, Line};

const STREAMS: &str = "http://etherx.jabber.org/streams";
pub(crate) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub(crate) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// How it proves who it is, and has others do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Certificate,
    Dialback,
}

pub(crate) struct Abroad {
    pub(crate) domain: &'static str,
    pub(crate) ear: Ear,
    /// Where it is found.
    pub(crate) s2s: SocketAddr,
    proof: Proof,
    client: Arc<ClientConfig>,
}

/// The header of a stream with this content.
pub(crate) fn header(content: &str, attributes: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:db='jabber:server:dialback' xmlns:stream='{STREAMS}' \
         {attributes}>"
    )
}

impl Abroad {
    /// Serves `domain` at `address` from now on.
    pub(crate) async fn serve(domain: &'static str, address: IpAddr, proof: Proof, ca: &DevelopmentCa) -> Self {
        let issued = ca.issue(&[domain]).unwrap();
        let chain = || CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes()).map(Result::unwrap).collect();
        let key = || PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_client_auth_cert(chain(), key()).unwrap();
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let server = Arc::new(server.with_no_client_auth().with_single_cert(chain(), key()).unwrap());
        let (ear, listener) = (Ear::new(), TcpListener::bind((address, 0)).await.unwrap());
        let (s2s, own) = (listener.local_addr().unwrap(), ear.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // What is missing then is missed by the test.
                tokio::spawn(converse(Line::new(socket, &own), domain, proof, Arc::clone(&server)));
            }
        });
        Self { domain, ear, s2s, proof, client: Arc::new(client) }
    }

    /// Somebody who lives there.
    pub(crate) fn user(&self) -> String {
        format!("u@{}/r", self.domain)
    }

    /// A stream to `host` from this address, on which this server has proved who it is.
    pub(crate) async fn dial(&self, from: IpAddr, (to, host): (SocketAddr, &str)) -> Line {
        let mut line = self.dial_unproven(from, (to, host)).await;
        let domain = self.domain;
        match self.proof {
            Proof::Certificate => {
                let message = BASE64_STANDARD.encode(domain);
                line.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>{message}</auth>")).await;
                line.hear("<success").await;
                line.hear(">").await;
                line.say(&self.header(host)).await;
                line.hear("<stream:features").await;
            }
            Proof::Dialback => {
                line.say(&format!("<db:result from='{domain}' to='{host}'>a key</db:result>")).await;
                line.hear("type='valid'").await;
            }
        }
        line
    }

    /// The same before it has proved anything.
    pub(crate) async fn dial_unproven(&self, from: IpAddr, (to, host): (SocketAddr, &str)) -> Line {
        let mut line = Line::dial(from, to, &self.ear).await;
        line.say(&self.header(host)).await;
        line.hear("</stream:features>").await;
        line.say(&format!("<starttls xmlns='{TLS}'/>")).await;
        line.hear("<proceed").await;
        line.hear(">").await;
        let mut line = line.connect_tls(&self.client, VERONA).await;
        line.say(&self.header(host)).await;
        line.hear("</stream:features>").await;
        line
    }

    fn header(&self, host: &str) -> String {
        header("jabber:server", &format!("from='{}' to='{host}' version='1.0'", self.domain))
    }
}

/// What this server says to whoever has connected.
async fn converse(mut line: Line, domain: &str, proof: Proof, tls: Arc<ServerConfig>) -> Option<()> {
    let header = || header("jabber:server", &format!("from='{domain}' id='{domain}' version='1.0'"));
    line.hear_one(&["<stream:stream"]).await?;
    line.hear_one(&[">"]).await?;
    let starttls = format!("<starttls xmlns='{TLS}'><required/></starttls>");
    line.say(&format!("{}<stream:features>{starttls}</stream:features>", header())).await;
    line.hear_one(&["<starttls"]).await?;
    line.hear_one(&[">"]).await?;
    line.say(&format!("<proceed xmlns='{TLS}'/>")).await;
    let mut line = line.accept_tls(tls).await?;
    let mut offer = match proof {
        Proof::Certificate => format!("<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"),
        Proof::Dialback => "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>".to_owned(),
    };
    loop {
        let (word, said) = line.hear_one(&["<stream:stream", "</auth>", "</db:result>", "</db:verify>"]).await?;
        let value = |name: &str| {
            let element = said.rsplit_once("<db:")?.1;
            Some(element.split_once(&format!(" {name}='"))?.1.split_once('\'')?.0.to_owned())
        };
        let sides = || Some(format!("from='{}' to='{}'", value("to")?, value("from")?));
        let answer = match word {
            "<stream:stream" => {
                line.hear_one(&[">"]).await?;
                format!("{}<stream:features>{offer}</stream:features>", header())
            }
            "</auth>" => {
                offer = String::new();
                format!("<success xmlns='{SASL}'/>")
            }
            "</db:result>" => format!("<db:result {} type='valid'/>", sides()?),
            _ => format!("<db:verify {} id='{}' type='valid'/>", sides()?, value("id")?),
        };
        line.say(&answer).await;
    }
}
