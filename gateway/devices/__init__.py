"""Which device a request comes from: claims of the sign-in, certificates, certificates that a proxy forwards."""
