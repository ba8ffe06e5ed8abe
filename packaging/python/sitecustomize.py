"""Tell OpenSSL where this system keeps the certificates that it trusts; child processes inherit it."""

import os

if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
    for _bundle in (
        "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, UOS
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL, Rocky, openEuler, Kylin
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",  # SUSE
    ):
        if os.path.exists(_bundle):
            os.environ["SSL_CERT_FILE"] = _bundle
            break
