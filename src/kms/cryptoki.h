/*
 * cryptoki.h
 *	  As much of the interface of PKCS#11 modules (OASIS PKCS #11, version 2.40)
 *	  as provider_pkcs11.c uses, on systems where a C long is a CK_ULONG.
 *
 * A module exports C_GetFunctionList(); the list has a version and then pointers
 * in an order that the standard fixes: DpCkFunction numbers the ones used.
 */
#ifndef DP_KMS_CRYPTOKI_H
#define DP_KMS_CRYPTOKI_H

typedef unsigned long DpCkUlong;
typedef DpCkUlong DpCkResult;

typedef enum DpCkFunction
{
	CK_INITIALIZE = 0,
	CK_FINALIZE = 1,
	CK_GET_SLOT_LIST = 4,
	CK_GET_TOKEN_INFO = 6,
	CK_OPEN_SESSION = 12,
	CK_CLOSE_SESSION = 13,
	CK_LOGIN = 18,
	CK_DESTROY_OBJECT = 22,
	CK_GET_ATTRIBUTE_VALUE = 24,
	CK_FIND_OBJECTS_INIT = 26,
	CK_FIND_OBJECTS = 27,
	CK_FIND_OBJECTS_FINAL = 28,
	CK_ENCRYPT_INIT = 29,
	CK_ENCRYPT = 30,
	CK_DECRYPT_INIT = 33,
	CK_DECRYPT = 34,
	CK_SIGN_INIT = 42,
	CK_SIGN = 43,
	CK_N_FUNCTIONS = 68
} DpCkFunction;

typedef struct DpCkFunctionList
{
	unsigned char major;
	unsigned char minor;
	void		(*function[CK_N_FUNCTIONS]) (void);
} DpCkFunctionList;

typedef struct DpCkAttribute
{
	DpCkUlong	type;
	void	   *value;
	DpCkUlong	len;
} DpCkAttribute;

typedef struct DpCkMechanism
{
	DpCkUlong	mechanism;
	void	   *parameter;
	DpCkUlong	parameter_len;
} DpCkMechanism;

typedef struct DpCkGcm
{
	unsigned char *iv;
	DpCkUlong	iv_len;
	DpCkUlong	iv_bits;
	unsigned char *aad;
	DpCkUlong	aad_len;
	DpCkUlong	tag_bits;
} DpCkGcm;

typedef struct DpCkPss
{
	DpCkUlong	hash;
	DpCkUlong	mask;
	DpCkUlong	salt_len;
} DpCkPss;

/* Text is padded with blanks and has no terminator. */
typedef struct DpCkTokenInfo
{
	unsigned char label[32];
	unsigned char manufacturer[32];
	unsigned char model[16];
	unsigned char serial[16];
	DpCkUlong	flags;
	DpCkUlong	numbers[10];
	unsigned char versions[4];
	unsigned char time[16];
} DpCkTokenInfo;

#define CK_OK							0x00UL
#define CK_DEVICE_ERROR					0x30UL
#define CK_DEVICE_REMOVED				0x32UL
#define CK_ENCRYPTED_DATA_INVALID		0x40UL
#define CK_ENCRYPTED_DATA_LEN_RANGE		0x41UL
#define CK_MECHANISM_INVALID			0x70UL
#define CK_PIN_INCORRECT				0xA0UL
#define CK_PIN_INVALID					0xA1UL
#define CK_PIN_LEN_RANGE				0xA2UL
#define CK_PIN_LOCKED					0xA4UL
#define CK_USER_ALREADY_LOGGED_IN		0x100UL
#define CK_ALREADY_INITIALIZED			0x191UL

#define CK_SESSION_WRITE				0x02UL
#define CK_SESSION_SERIAL				0x04UL
#define CK_USER							1UL

#define CK_ATTR_CLASS					0x000UL
#define CK_ATTR_LABEL					0x003UL
#define CK_ATTR_KEY_TYPE				0x100UL
#define CK_ATTR_SENSITIVE				0x103UL
#define CK_ATTR_MODULUS					0x120UL
#define CK_ATTR_PUBLIC_EXPONENT			0x122UL
#define CK_ATTR_VALUE_LEN				0x161UL
#define CK_ATTR_EXTRACTABLE				0x162UL

#define CK_ATTR_EC_PARAMS				0x180UL
#define CK_ATTR_EC_POINT				0x181UL

#define CK_CLASS_PUBLIC_KEY				2UL
#define CK_CLASS_PRIVATE_KEY			3UL
#define CK_CLASS_SECRET_KEY				4UL
#define CK_KEY_RSA						0x00UL
#define CK_KEY_EC						0x03UL
#define CK_KEY_AES						0x1FUL
#define CK_KEY_EC_EDWARDS				0x40UL
#define CK_MECHANISM_SHA256_RSA_PSS		0x43UL
#define CK_MECHANISM_SHA256				0x250UL
#define CK_MECHANISM_ECDSA				0x1041UL
#define CK_MECHANISM_EDDSA				0x1057UL
#define CK_MECHANISM_AES_GCM			0x1087UL
#define CK_MASK_SHA256					2UL

#endif							/* DP_KMS_CRYPTOKI_H */
