"""How the server is reached, and which option files are read."""

from goldcopy.compat.options.declare import (
    Arg,
    Option,
    Release,
    Variant,
    flag,
    ignored,
    number,
    of_server,
    one_of,
    refused,
    valued,
)

R = Release

_FINGERPRINT = (
    "The fingerprint of the server's certificate would not be checked. Name the certificate's CA with --ssl-ca instead."
)

OPTIONS: tuple[Option, ...] = (
    valued("defaults-file", R.ALL, "Read this option file and no other. Must come first."),
    valued("defaults-extra-file", R.ALL, "Read this option file after the global ones. Must come first."),
    valued(
        "defaults-group",
        R.ALL,
        "Read this group of the option files, too; its options count more than those of [mysqld]. Under MariaDB's"
        " names it is read in the place of [mysqld].",
        default="mysqld",
    ),
    valued("defaults-group-suffix", R.ALL, "Read every group once more with this suffix. Must come first."),
    flag("no-defaults", R.ALL, "Read no option file. Must come first."),
    flag("print-defaults", R.ALL, "Print what the option files say, and stop. Must come first."),
    valued("login-path", R.ALL, "Read this group of ~/.mylogin.cnf too."),
    valued("user", R.ALL, "Account to log in as.", short="u"),
    valued(
        "password",
        R.ALL,
        "The account's password; without a value it is asked for. It never reaches a log or a file.",
        short="p",
        arg=Arg.OPTIONAL,
        bare="",
        secret=True,
        variants=(Variant(R.MB | R.IBX24, arg=Arg.EITHER),),
    ),
    valued("host", R.ALL, "Host of the server; its files must be reachable here all the same.", short="H"),
    number("port", R.ALL, "TCP port of the server.", 0, short="P", maximum=65535),
    valued("socket", R.ALL, "Unix socket of the server.", short="S"),
    one_of(
        "protocol",
        R.MB,
        "Connect by TCP or by the socket, whatever the host.",
        ("tcp", "socket", "pipe", "memory"),
        refuse=(("pipe", "Named pipes are of Windows."), ("memory", "Shared memory is of Windows.")),
    ),
    one_of(
        "ssl-mode",
        R.XB,
        "How much TLS is asked for.",
        ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"),
    ),
    flag("ssl", R.XB24 | R.MB, "Use TLS for the connection."),
    valued("ssl-ca", R.XB | R.MB, "Trust the CAs in this file."),
    valued("ssl-capath", R.XB | R.MB, "Trust the CAs in this directory."),
    valued("ssl-cert", R.XB | R.MB, "Our certificate."),
    valued("ssl-key", R.XB | R.MB, "Our private key."),
    valued("ssl-cipher", R.XB | R.MB, "Ciphers that may be used."),
    valued("ssl-crl", R.XB | R.MB, "Revoked certificates."),
    valued("ssl-crlpath", R.XB | R.MB, "Directory of revoked certificates, hashed by openssl rehash."),
    valued("tls-version", R.XB | R.MB, "TLS versions that may be used."),
    ignored(valued("tls-ciphersuites", R.XB8, "All cipher suites of TLS 1.3 are good: none has to be left out.")),
    flag(
        "ssl-verify-server-cert",
        R.XB24 | R.MB,
        "Check that the certificate comes from one of our CAs and names the host. Under MariaDB's names, where no CA is"
        " named, a server of 11.4 and newer may prove its certificate by the password instead; and over TCP to such a"
        " server this is the default, but not without a CA to 127.0.0.1 and ::1. It is the server's greeting that tells"
        " its version, so that only who gives this option is safe from somebody in between who claims to be an older"
        " one.",
    ),
    refused(valued("ssl-fp", R.MB, _FINGERPRINT)),
    refused(valued("ssl-fplist", R.MB, _FINGERPRINT)),
    one_of(
        "ssl-fips-mode",
        R.XB8,
        "Only OFF is possible.",
        ("OFF", "ON", "STRICT"),
        refuse=(
            ("ON", "Python's OpenSSL cannot be switched to FIPS mode from here: configure OpenSSL itself."),
            (
                "STRICT",
                "Python's OpenSSL cannot be switched to FIPS mode from here: configure OpenSSL itself.",
            ),
        ),
    ),
    ignored(valued("ssl-session-data", R.XB8, "Every connection does a full TLS handshake: there are only a few.")),
    ignored(
        flag(
            "ssl-session-data-continue-on-failed-reuse",
            R.XB8,
            "No TLS session is reused, so none can fail to be.",
        )
    ),
    ignored(valued("tls-sni-servername", R.XB84 | R.XB97, "The host that is connected to is named in the handshake.")),
    valued("server-public-key-path", R.XB8, "The server's RSA key, for passwords over a connection without TLS."),
    flag(
        "get-server-public-key",
        R.XB8,
        "Ask the server for its RSA key. It is asked for whenever it is needed.",
    ),
    ignored(
        flag(
            "secure-auth",
            R.XB24 | R.MB,
            "Passwords of the time before MySQL 4.1 are never sent.",
            default=True,
        )
    ),
    of_server(valued("datadir", R.XB | R.MB, "The server's data directory.", short="h")),
    of_server(valued("tmpdir", R.ALL, "Where temporary files go.", short="t")),
    flag(
        "check-privileges",
        R.XB | R.MB,
        "Check the account's privileges before anything else.",
        variants=(Variant(R.MB, default=True),),
    ),
    ignored(
        flag("no-version-check", R.ALL, "Nothing here calls home to ask for newer versions."),
    ),
    flag("no-server-version-check", R.XB8, "Go on with a server newer than this program knows."),
    of_server(ignored(number("server-id", R.XB, "The server's own id is asked of the server."))),
)
