Feature: Endpoints

  Scenario: Body, Query And Headers
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-post
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: post
            endpoint: https://httpbin.org/anything
            headers:
              Content-Type: application/json
            query:
              tag: [ a, b ]
              empty: null
            body:
              name: ${ .name }
          output:
            as: '{ method, body, query, type }'
    """
    And given the workflow input is:
    """yaml
    name: Milou
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    method: POST
    body: { name: Milou }
    query: tag=a&tag=b
    type: application/json
    """

  Scenario: Form
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-form
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: post
            endpoint: https://httpbin.org/anything
            headers:
              Content-Type: application/x-www-form-urlencoded
            body:
              name: ${ .name }
          output:
            as: .body
    """
    And given the workflow input is:
    """yaml
    name: a&b=c
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    name=a%26b%3Dc
    """

  # Tests that what proves who asks is not part of the response
  Scenario: Bearer Token
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-bearer
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: get
            endpoint:
              uri: https://httpbin.org/anything
              authentication:
                bearer:
                  token: ${ .token }
            output: response
          output:
            as: '{ sent: .content.authorization, shown: .request.headers.authorization }'
    """
    And given the workflow input is:
    """yaml
    token: t0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sent: Bearer t0
    shown: null
    """

  Scenario: Wrong Password
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-basic
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: get
            endpoint:
              uri: https://httpbin.org/basic-auth/anna/right
              authentication:
                basic:
                  username: anna
                  password: wrong
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/communication
    status: 401
    title: Unauthorized
    instance: /do/0/ask
    """

  Scenario: Raw Output
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-raw
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: get
            endpoint: https://httpbin.org/status/200
            output: raw
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    eyJzYWlkIjoiMjAwIn0=
    """

  Scenario: Redirect As An Error
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-no-redirect
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: get
            endpoint: https://httpbin.org/status/302
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/communication
    status: 302
    """

  Scenario: Redirect As An Answer
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-redirect
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: get
            endpoint: https://httpbin.org/status/302
            redirect: true
            output: response
          output:
            as: '{ status: .statusCode, to: .headers.location }'
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    status: 302
    to: http://elsewhere.invalid/
    """

  # Tests that an attempt of unknown outcome is made again under its key
  Scenario: Idempotency Key
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-key
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/ask/2
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/communication
                status: 503
            retry:
              delay: { milliseconds: 1 }
              limit:
                attempt:
                  count: 5
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    attempt: 3
    """
    And the service should have been asked 3 times at /flaky/ask/2 with one key

  Scenario: Host That Is Not Allowed
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: http-host
      version: '1.0.0'
    do:
      - ask:
          call: http
          with:
            method: get
            endpoint: http://169.254.169.254/latest/meta-data
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/authorization
    status: 403
    instance: /do/0/ask
    """

  Scenario: OpenAPI Operation With A Body
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: openapi-post
      version: '1.0.0'
    do:
      - add:
          call: openapi
          with:
            document:
              endpoint: https://petstore.swagger.io/v2/swagger.json
            operationId: addPet
            parameters:
              body:
                name: ${ .name }
    """
    And given the workflow input is:
    """yaml
    name: Milou
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    name: Milou
    """

  Scenario: OpenAPI Operation That Is Not There
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: openapi-unknown
      version: '1.0.0'
    do:
      - add:
          call: openapi
          with:
            document:
              endpoint: https://petstore.swagger.io/v2/swagger.json
            operationId: addCat
    """
    When the workflow is executed
    Then the workflow should fault
    And add should fault

  Scenario: Function Of Its Own
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: function
      version: '1.0.0'
    use:
      functions:
        findPet:
          call: http
          with:
            method: get
            endpoint: https://petstore.swagger.io/v2/pet/{id}
          output:
            as: .id
    do:
      - ask:
          call: findPet
          with:
            id: ${ .pet }
    """
    And given the workflow input is:
    """yaml
    pet: 7
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    7
    """
