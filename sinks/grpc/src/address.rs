//! Reads a collector's address.
//! Never resolves a name: that is done, and done again, when connecting.

/// Why an address cannot be a collector's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {address:?}")]
pub struct AddressError {
    /// What is wrong and what to write instead.
    pub reason: &'static str,
    /// The address as it was given.
    pub address: String,
}

/// Gives `http://HOST:PORT` for `HOST:PORT`, `[IPV6]:PORT` or the same after `http://`.
pub(crate) fn url(address: &str) -> Result<String, AddressError> {
    let error = |reason| AddressError { reason, address: address.to_owned() };
    let trimmed = address.trim();
    let rest = match trimmed.split_once("://") {
        None => trimmed,
        Some(("http", rest)) => rest.trim_end_matches('/'),
        Some(("https", _)) => {
            return Err(error("leakline does not speak TLS yet: write HOST:PORT, or go through a tunnel"));
        }
        Some(_) => return Err(error("a collector's address is HOST:PORT, or the same after http://")),
    };
    let (host, port) = rest.rsplit_once(':').ok_or(error("the port is missing: write HOST:PORT"))?;
    match port.parse::<u16>() {
        Ok(0) | Err(_) => return Err(error("the port must be a number from 1 to 65535")),
        Ok(_) => {}
    }
    let name = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    match name {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_err() => {
            return Err(error("between the brackets there must be an IPv6 address"));
        }
        Some(_) => {}
        None if host.is_empty() => return Err(error("the host is missing: write HOST:PORT")),
        None if host.contains(':') => {
            return Err(error("an IPv6 address goes into brackets: [ADDRESS]:PORT"));
        }
        None if !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) => {
            return Err(error("a host's name has letters, digits, dots and hyphens only"));
        }
        None => {}
    }
    Ok(format!("http://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is the URL, or the beginning of the reason against it.
    fn check(address: &str, expected: &str) {
        match url(address) {
            Ok(url) => assert_eq!(url, expected, "{address:?}"),
            Err(error) => {
                assert!(error.to_string().starts_with(expected), "{address:?}: {error}");
                assert!(error.to_string().ends_with(&format!("{address:?}")), "{error}");
            }
        }
    }

    #[test]
    fn host_and_port_become_a_url() {
        check("localhost:4711", "http://localhost:4711");
        check("  192.168.1.4:4711 ", "http://192.168.1.4:4711");
        check("[::1]:4711", "http://[::1]:4711");
        check("http://my-desk.local:4711", "http://my-desk.local:4711");
        check("http://my-desk.local:4711/", "http://my-desk.local:4711");
    }

    #[test]
    fn everything_else_is_told_what_to_write() {
        check("", "the port is missing: write HOST:PORT");
        check("localhost", "the port is missing: write HOST:PORT");
        check(":4711", "the host is missing: write HOST:PORT");
        check("localhost:0", "the port must be a number");
        check("localhost:99999", "the port must be a number");
        check("localhost:http", "the port must be a number");
        check("::1:4711", "an IPv6 address goes into brackets");
        check("[localhost]:4711", "between the brackets");
        check("my desk:4711", "a host's name has letters");
        check("user@desk:4711", "a host's name has letters");
        check("desk/path:4711", "a host's name has letters");
        check("https://desk:4711", "leakline does not speak TLS yet");
        check("ftp://desk:4711", "a collector's address is HOST:PORT");
    }
}
