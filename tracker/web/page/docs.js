/* Shows the API's description, which this server has too. */
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#ui", validatorUrl: null, tryItOutEnabled: true,
});
