"""Ed25519 as in RFC 8032: slow, and not for secrets that matter."""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(a, b):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    e, f = (y1 + x1) * (y2 + x2), (y1 - x1) * (y2 - x2)
    g, h = 2 * t1 * t2 * D, 2 * z1 * z2
    e, f, g, h = e - f, h - g, h + g, e + f
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(point, factor):
    result = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            result = add(result, point)
        point, factor = add(point, point), factor >> 1
    return result


def encode(point):
    x, y, z, _ = point
    x, y = x * pow(z, -1, P) % P, y * pow(z, -1, P) % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data):
    y = int.from_bytes(data, "little")
    odd, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    x = P - x if x & 1 != odd else x
    return x, y, 1, x * y % P


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def digest(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def secret(seed):
    return digest(seed) % 2**254 & -8 | 2**254


def public_key(seed):
    return encode(multiply(BASE, secret(seed)))


def sign(seed, message):
    own = public_key(seed)
    once = digest(hashlib.sha512(seed).digest()[32:], message) % L
    start = encode(multiply(BASE, once))
    return start + ((once + digest(start, own, message) * secret(seed)) % L).to_bytes(32, "little")


def verifies(key, message, signature):
    start, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    challenge = digest(start, key, message) % L
    other = add(decode(start), multiply(decode(key), challenge))
    return len(signature) == 64 and scalar < L and encode(multiply(BASE, scalar)) == encode(other)
