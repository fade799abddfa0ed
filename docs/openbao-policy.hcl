# What Gotgan's token needs of an OpenBao or Vault server whose Transit engine is mounted at transit/.
path "transit/keys/+" {
  capabilities = ["create", "read", "update"]
}
path "transit/keys/+/rotate" {
  capabilities = ["update"]
}
path "transit/encrypt/+" {
  capabilities = ["update"]
}
path "transit/decrypt/+" {
  capabilities = ["update"]
}
path "transit/hmac/+" {
  capabilities = ["update"]
}
