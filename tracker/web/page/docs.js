/* Renders the API's OpenAPI document. */
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#ui", validatorUrl: null, tryItOutEnabled: true,
});
